"""`headrace compile`: a pipeline to a YAML file."""

from __future__ import annotations

import click

from headrace.pipelines.commands import options
from headrace.pipelines.compiler import PIPELINES, PLATFORMS, compile_to


@click.command(name="compile")
@click.argument("pipeline", type=click.Choice(PIPELINES))
@click.option("--for", "platform", type=click.Choice(PLATFORMS), default="local", show_default=True, help="Platform.")
@click.option(
    "--options",
    "options_file",
    metavar="FILE",
    default="",
    help="TOML: the tables [images] and [vertex] or [kubeflow]; vertex and kubeflow need it.",
)
@click.option("--allow-tags", is_flag=True, help="Images may be named by tags, which may be other images tomorrow.")
@options.output
def compile_(pipeline: str, platform: str, options_file: str, allow_tags: bool, output: str) -> None:
    """Compile PIPELINE to a KFP pipeline spec (YAML) for a platform.

    What the platform would refuse, or ignore without a word, is refused here, with the rule.

    \b
    Examples:
      headrace compile static --for local --output static.yaml
      headrace compile batch-scoring --output batch_scoring.yaml
      headrace compile static --for vertex --options vertex.toml --output static.yaml
      headrace compile tuned --for vertex --options vertex.toml --output tuned.yaml
    """
    compile_to(pipeline, platform, output, options_file=options_file, allow_tags=allow_tags)
    click.echo(output)
