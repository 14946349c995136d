"""`headrace endpoint`: shows an endpoint of this machine, rolls it back, or stops it."""

from __future__ import annotations

import click

from headrace.components.deploy.local import publisher
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.text_table import aligned

_folder = click.argument("folder", metavar="ENDPOINT")


@click.group()
def endpoint() -> None:
    """Show an endpoint of this machine, roll it back, or stop it. ENDPOINT is its folder: ROOT/endpoints/NAME."""


@endpoint.command()
@_folder
@json_option
def status(folder: str, as_json: bool) -> None:
    """Show the live version, the previous one, and the endpoint's URL."""
    found = publisher.status(folder)
    if as_json:
        print_json(found)
        return
    answers = "nothing" if found.url is None else f"{found.url}, process {found.pid}"
    lines = [
        ("name", found.name or "none"),
        (
            "live",
            f"{found.live or 'none'}{', healthy' if found.healthy else ', does not answer' if found.live else ''}",
        ),
        ("previous", found.previous or "none"),
        ("answers at", answers),
        ("versions", ", ".join(found.versions) or "none"),
    ]
    lines += [("history", f"{change.at} {change.action} {change.version}") for change in found.history]
    click.echo(aligned(lines))


@endpoint.command()
@_folder
def rollback(folder: str) -> None:
    """Roll back to the previous version: its server is started and checked before the switch."""
    result = publisher.rollback(folder)
    click.echo(f"version {result.version} answers at {result.url}")


@endpoint.command()
@_folder
def stop(folder: str) -> None:
    """Stop the endpoint's server. The versions stay; `headrace serve ENDPOINT` starts the live one again."""
    publisher.stop(folder)
    click.echo("stopped")
