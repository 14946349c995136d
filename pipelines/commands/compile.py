"""`headrace compile`: compiles a pipeline to a YAML file."""

from __future__ import annotations

import click

from headrace.core.artifacts.kinds import SPEC
from headrace.core.storage.output_check import check_output
from headrace.pipelines.commands import options
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.platform_options import PLATFORM_ALIASES
from headrace.pipelines.compiler import PIPELINES, PLATFORMS, compile_to


@click.command(name="compile", cls=GroupedCommand)
@click.argument("pipeline", type=click.Choice(PIPELINES))
@option(
    "--platform",
    "platform",
    aliases=PLATFORM_ALIASES,
    type=click.Choice(PLATFORMS),
    default="local",
    show_default=True,
    help="Platform of the spec.",
)
@click.option(
    "--options",
    "options_file",
    metavar="FILE",
    default="",
    help="TOML file with the tables [images] and [vertex] or [kubeflow]; required for vertex and kubeflow.",
)
@click.option("--allow-tags", is_flag=True, help="Allow images with tags, which may change, instead of digests.")
@click.option("--verbose", is_flag=True, help="Print the source of a rule that an option breaks.")
@options.output
def compile_(pipeline: str, platform: str, options_file: str, allow_tags: bool, verbose: bool, output: str) -> None:
    """Compile PIPELINE to a KFP pipeline spec (YAML) for a platform.

    Options that the platform would reject or silently ignore are refused here, with the rule. A machine type or a
    region that headrace does not know is a warning, or refused where it is near one that it knows.

    \b
    Examples:
      headrace compile static --platform local --output static.yaml
      headrace compile batch-scoring --output batch_scoring.yaml
      headrace compile static --platform vertex --options vertex.toml --output static.yaml
      headrace compile rollback --platform vertex --options vertex.toml --output rollback.yaml
      headrace compile canary --platform vertex --options vertex.toml --output canary.yaml
      headrace compile tuned --platform vertex --options vertex.toml --output tuned.yaml
    """
    from headrace.pipelines.lint.check import least_backend
    from headrace.pipelines.platforms.vertex_rules import BrokenRule

    check_output(output, SPEC, inputs={"--options": options_file})
    try:
        doubts = compile_to(pipeline, platform, output, options_file=options_file, allow_tags=allow_tags)
    except BrokenRule as error:
        if verbose:
            click.echo(f"rule {error.source}", err=True)
        raise
    click.echo(output)
    for doubt in doubts:
        click.echo(f"warning: {doubt}", err=True)
        if verbose and isinstance(doubt, BrokenRule):
            click.echo(f"rule {doubt.source}", err=True)
    least = least_backend(output) if platform == "kubeflow" else ""
    if least:
        click.echo(f"needs Kubeflow Pipelines {least}", err=True)
