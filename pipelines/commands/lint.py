"""`headrace lint`: checks a compiled spec for what a platform would reject or ignore."""

from __future__ import annotations

import click

from headrace.core.errors import UsageError
from headrace.core.text import counted
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
@option(
    "--backend",
    metavar="VERSION",
    default="",
    help="Version of the Kubeflow Pipelines backend, such as 2.15: what only newer ones support is rejected.",
)
@json_option
def lint(spec: str, platform: str, backend: str, as_json: bool) -> None:
    """Check any compiled pipeline spec for what a platform would reject or silently ignore.

    \b
    Exit status: 0 if the platform would accept the spec, 2 otherwise.
    Examples:
      headrace lint static.yaml --platform vertex
      headrace lint static.yaml --platform kubeflow --backend 2.14
    """
    from headrace.pipelines.lint.check import least_backend
    from headrace.pipelines.lint.check import lint as check

    if backend and platform != "kubeflow":
        raise UsageError(
            "Vertex AI has no version of the backend", where="--backend", expected="with --platform kubeflow"
        )
    name = {"vertex": "Vertex AI", "kubeflow": "Kubeflow"}[platform]
    findings = check(spec, platform, backend=backend)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            click.echo(finding.text)
    refused = sum(finding.refused for finding in findings)
    if refused:
        raise UsageError(
            f"{name} would reject this spec",
            where=spec,
            received=f"{counted(refused, 'error')}, {counted(len(findings) - refused, 'warning')}",
            fix="Fix the findings above, which name the field and the rule",
        )
    if not as_json:
        click.echo(f"{spec}: OK for {name}" + (f", {counted(len(findings), 'warning')}" if findings else ""))
        least = least_backend(spec) if platform == "kubeflow" and not backend else ""
        if least:
            click.echo(f"Needs Kubeflow Pipelines {least}")
