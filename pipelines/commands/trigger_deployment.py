"""`headrace trigger function` and `headrace trigger service`: what is deployed, and the commands that do it."""

from __future__ import annotations

from typing import Any

import click

from headrace.pipelines.commands import trigger_options
from headrace.pipelines.commands.option_groups import GroupedCommand, folded, group
from headrace.pipelines.commands.trigger_serve import allow, audience, data_below, iap_audience

_where = group("Google Cloud")


def _deployment(command: Any) -> Any:
    """Adds the options of a deployment, which a command receives as the dictionary `where`."""
    return folded(
        (
            _where("--project", required=True, metavar="PROJECT", help="ID of the project."),
            _where("--region", required=True, metavar="REGION", help="Region, such as europe-west1."),
            _where("--name", default="headrace-trigger", show_default=True, metavar="NAME", help="Name that it gets."),
            _where(
                "--account",
                default="headrace-trigger",
                show_default=True,
                metavar="NAME",
                help="Name of its service account, which is created.",
            ),
            _where(
                "--requirement",
                default="",
                metavar="TEXT",
                help="Requirement of pip that installs headrace, such as a wheel in DIR (default: this version).",
            ),
        ),
        "where",
        lambda given: given,
    )(command)


@click.command(cls=GroupedCommand)
@click.argument("source", metavar="DIR")
@trigger_options.settings
@click.option("--spans", required=True, metavar="URI", help="Folder with the spans: gs://BUCKET/FOLDER.")
@trigger_options.closed_by
@_deployment
def function(source: str, settings: str, spans: str, closed_by: str, where: dict[str, Any]) -> None:
    """Write a Cloud Function into DIR, and print the commands that deploy it.

    It is called for each object that is finalized in the bucket, and announces the span that is complete.

    \b
    Example:
      headrace trigger function function --settings gs://my-bucket/headrace --spans gs://my-data/flights \\
          --closed-by marker --project my-project --region europe-west1 > deploy.sh
    """
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.closing import ClosingRule
    from headrace.pipelines.triggers.deployment import function as work
    from headrace.pipelines.triggers.deployment.common import Deployment
    from headrace.pipelines.triggers.storage_event import StorageTrigger

    found = dynamic.read(settings)
    deployment = Deployment(found, **where)
    options = StorageTrigger(found.uri, spans, ClosingRule.parse(closed_by))
    work.write(source, deployment)
    _print(work.commands(source, deployment, options))


@click.command(cls=GroupedCommand)
@click.argument("source", metavar="DIR")
@trigger_options.settings
@click.option(
    "--on",
    "host",
    type=click.Choice(["cloud-run", "app-engine"]),
    default="cloud-run",
    show_default=True,
    help="Where the service runs.",
)
@audience
@iap_audience
@allow
@data_below
@_deployment
def service(
    source: str,
    settings: str,
    host: Any,
    audience: str,
    iap_audience: str,
    allow: tuple[str, ...],
    data_below: tuple[str, ...],
    where: dict[str, Any],
) -> None:
    """Write the HTTP service of `headrace trigger serve` into DIR, and print the commands that deploy it.

    \b
    Example:
      headrace trigger service service --settings gs://my-bucket/headrace --project my-project \\
          --region europe-west1 --audience https://trigger.example.com --allow ann@example.com > deploy.sh
    """
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.deployment.common import Deployment
    from headrace.pipelines.triggers.deployment.service import ServiceDeployment
    from headrace.pipelines.triggers.service.login import Login

    # Wrong options are found before the deployment, and not by the service.
    Login(audience, allow, iap_audience=iap_audience)
    deployment = ServiceDeployment(
        Deployment(dynamic.read(settings), **where), host, audience, iap_audience, allow, data_below
    )
    deployment.write(source)
    _print(deployment.commands(source))


def _print(lines: list[str]) -> None:
    for line in ("set -euo pipefail", *lines):
        click.echo(line)
