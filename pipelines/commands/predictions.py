"""`headrace predictions`: look at the published predictions of a problem, or roll them back."""

from __future__ import annotations

import json

import click

from headrace.components.score import publishing

_folder = click.argument("folder", metavar="PREDICTIONS")


@click.group()
def predictions() -> None:
    """Look at published predictions, or roll them back. PREDICTIONS is their folder: ROOT/predictions/NAME."""


@predictions.command()
@_folder
def status(folder: str) -> None:
    """Print which ones are current, and which were before them, as JSON. Status 2 where nothing is published."""
    click.echo(json.dumps(publishing.look(folder), indent=1))


@predictions.command()
@_folder
@click.option(
    "--identity", metavar="IDENTITY", help="Identity of the predictions to return to (default: the previous ones)."
)
def rollback(folder: str, identity: str | None) -> None:
    """Go back to the previous predictions: every file is read and compared before the switch."""
    result = publishing.rollback(folder, identity)
    click.echo(f"{result.identity} is current: {result.uri}")
