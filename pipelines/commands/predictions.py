"""`headrace predictions`: shows the published predictions of a problem, rolls them back, or builds a table by key."""

from __future__ import annotations

from typing import Any

import click

from headrace.components.score import publishing
from headrace.core.artifacts import published
from headrace.core.artifacts.kinds import PUBLISHED
from headrace.core.storage.output_check import check_output
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.run_argument import PREDICTIONS
from headrace.pipelines.commands.text_table import aligned

_folder = click.argument("folder", metavar="PREDICTIONS")


@click.group()
def predictions() -> None:
    """Show published predictions, roll them back, or build a table for serving. PREDICTIONS is their folder:
    ROOT/predictions/NAME.
    """


@predictions.command()
@_folder
@json_option
def status(folder: str, as_json: bool) -> None:
    """Show the current and the previous predictions. Exit status 2 if nothing is published."""
    found = published.look(folder)
    if as_json:
        print_json(found)
    else:
        click.echo(aligned([(name, str(value)) for name, value in found.items() if value is not None]))


@predictions.command()
@_folder
@click.option(
    "--identity", metavar="IDENTITY", help="Identity of the predictions to return to (default: the previous ones)."
)
@json_option
def rollback(folder: str, identity: str | None, as_json: bool) -> None:
    """Roll back to the previous predictions: every file is verified before the switch."""
    _print_current(publishing.rollback(folder, identity), as_json)


@predictions.command()
@click.argument("folder", metavar="PREDICTIONS_OR_RUN", type=PREDICTIONS)
@click.option(
    "--output",
    required=True,
    metavar="DIR",
    help="Folder of published tables: a new one, or one with earlier tables, which stay for `headrace predictions "
    "rollback DIR`.",
)
@click.option(
    "--key", metavar="COLUMN", help="Column that identifies a row (default: the one that the predictions state)."
)
@json_option
def table(folder: str, output: str, key: str | None, as_json: bool) -> None:
    """Build a table by key, for `headrace serve --prediction-table TABLE`, and make it the current one.

    PREDICTIONS_OR_RUN is a folder that `headrace score` wrote, to Parquet, BigQuery or a table, published predictions,
    or a run of batch scoring.
    """
    from headrace.components.score.tabulate import tabulate

    check_output(output, PUBLISHED, option="--output", inputs={"PREDICTIONS": folder})
    with showing("table", output) as (_, report):
        result = tabulate(folder, output, key=key, report=report)
    _print_current(result, as_json)


def _print_current(result: Any, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        click.echo(f"{result.identity} is current: {result.uri}")
