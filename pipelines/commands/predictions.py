"""`headrace predictions`: shows the published predictions of a problem, or rolls them back."""

from __future__ import annotations

import click

from headrace.components.score import publishing
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.text_table import aligned

_folder = click.argument("folder", metavar="PREDICTIONS")


@click.group()
def predictions() -> None:
    """Show published predictions, or roll them back. PREDICTIONS is their folder: ROOT/predictions/NAME."""


@predictions.command()
@_folder
@json_option
def status(folder: str, as_json: bool) -> None:
    """Show the current and the previous predictions. Exit status 2 if nothing is published."""
    found = publishing.look(folder)
    if as_json:
        print_json(found)
    else:
        click.echo(aligned([(name, str(value)) for name, value in found.items() if value is not None]))


@predictions.command()
@_folder
@click.option(
    "--identity", metavar="IDENTITY", help="Identity of the predictions to return to (default: the previous ones)."
)
def rollback(folder: str, identity: str | None) -> None:
    """Roll back to the previous predictions: every file is verified before the switch."""
    result = publishing.rollback(folder, identity)
    click.echo(f"{result.identity} is current: {result.uri}")
