"""`headrace endpoint`: look at an endpoint of this machine, roll it back, or stop it."""

from __future__ import annotations

import dataclasses
import json

import click

from headrace.components.deploy.local import publisher

_folder = click.argument("folder", metavar="ENDPOINT")


@click.group()
def endpoint() -> None:
    """Look at an endpoint of this machine, roll it back, or stop it. ENDPOINT is its folder: ROOT/endpoints/NAME."""


@endpoint.command()
@_folder
def status(folder: str) -> None:
    """Print what is live, what was before it, and where it answers, as JSON."""
    click.echo(json.dumps(dataclasses.asdict(publisher.status(folder)), indent=1))


@endpoint.command()
@_folder
def rollback(folder: str) -> None:
    """Go back to the previous version: its server is started and checked before the switch."""
    result = publisher.rollback(folder)
    click.echo(f"version {result.version} answers at {result.url}")


@endpoint.command()
@_folder
def stop(folder: str) -> None:
    """Stop the endpoint's server. The versions stay; `headrace serve ENDPOINT` starts the live one again."""
    publisher.stop(folder)
    click.echo("stopped")
