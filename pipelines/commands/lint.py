"""`headrace lint`: what a platform would refuse or ignore in a compiled spec."""

from __future__ import annotations

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.platform_options import PLATFORM_ALIASES


@click.command(cls=GroupedCommand)
@click.argument("spec", metavar="FILE.yaml")
@option(
    "--platform",
    "platform",
    aliases=PLATFORM_ALIASES,
    type=click.Choice(["vertex", "kubeflow"]),
    required=True,
    help="Platform of the spec.",
)
@json_option
def lint(spec: str, platform: str, as_json: bool) -> None:
    """Say what a platform would refuse, or ignore without a word, in any compiled pipeline spec.

    \b
    Exit status: 0 where nothing would be refused, 2 otherwise.
    Example:
      headrace lint static.yaml --platform vertex
    """
    from headrace.pipelines.lint.check import lint as check

    findings = check(spec, platform)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            click.echo(finding.text)
    refused = sum(finding.refused for finding in findings)
    if refused:
        raise UsageError(
            f"{platform} would refuse this spec",
            where=spec,
            received=f"{refused} refused, {len(findings) - refused} more",
            fix="The lines above say where, and by which rule",
        )
    if not as_json:
        click.echo(f"{spec}: {platform} takes it" + (f"; {len(findings)} to look at" if findings else ""))
