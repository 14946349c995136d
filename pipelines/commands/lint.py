"""`headrace lint`: what a platform would refuse or ignore in a compiled spec."""

from __future__ import annotations

import json

import click

from headrace.core.errors import UsageError
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding, a line each.")
def lint(spec: str, platform: str, as_json: bool) -> None:
    """Say what a platform would refuse, or ignore without a word, in any compiled pipeline spec.

    \b
    Exit status: 0 where nothing would be refused, 2 otherwise.
    Example:
      headrace lint static.yaml --platform vertex
    """
    from headrace.pipelines.lint.check import lint as check

    findings = check(spec, platform)
    for finding in findings:
        click.echo(json.dumps(finding.to_json()) if as_json else finding.text)
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
