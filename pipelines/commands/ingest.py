"""`headrace ingest`: adds a span of data, and writes the Examples of the window over all spans."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.core.problem.file import load_problem
from headrace.core.text import counted, listed
from headrace.pipelines.commands import options
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, group
from headrace.pipelines.commands.progress_output import showing

if TYPE_CHECKING:
    from headrace.components.ingest.ingest import IngestResult
    from headrace.core.ledger.inbox import Arrival
    from headrace.core.problem.file import ProblemFile

_in_window = group("Window")


@click.command(cls=GroupedCommand)
@options.problem
@click.option(
    "--span",
    default="",
    metavar="SPAN",
    help="Name of the span to add, such as a day. Without it, the window is written again.",
)
@click.option(
    "--data",
    default="",
    metavar="PATH",
    help="Rows of the span: a file, a folder, a glob, gs://..., s3://... or bigquery://...",
)
@options.csv
@options.root
@options.output
@options.baseline
@_in_window(
    "--last-spans", default=0, type=click.IntRange(0), metavar="N", help="Number of spans in the window (default: all)."
)
@_in_window(
    "--last-days",
    default=0,
    type=click.IntRange(0),
    metavar="N",
    help="Number of days in the window, if names of spans begin with their day (default: all).",
)
@_in_window("--withdrawn", multiple=True, metavar="SPAN", help="Span that is left out of the window (repeatable).")
@_in_window(
    "--half-life",
    default=0.0,
    type=click.FloatRange(0),
    metavar="N",
    help="Number of spans after which a row counts half in training (default: all rows count the same).",
)
@json_option
@runner_command.runner
def ingest(
    problem: str,
    span: str,
    data: str,
    csv: tuple[str, ...],
    root: str,
    output: str,
    baseline: str,
    last_spans: int,
    last_days: int,
    withdrawn: tuple[str, ...],
    half_life: float,
    as_json: bool,
    runner: Mapping[str, Any],
) -> None:
    """Add a span of data to those below the root, and write the Examples of the window of spans that training reads.

    A span is preprocessed once. A bad one goes to quarantine as a whole, and the window stays as it was. The same span
    with other data replaces it.

    \b
    A day each day, training on the last 30:
      headrace ingest --problem FILE --span 2026-11-20 --data day.csv --last-days 30 --output out/window
      headrace train --problem FILE --examples out/window --output out/model
    """
    if bool(span) != bool(data):
        raise UsageError(
            "--span and --data belong together",
            expected="both, or neither to write the window again",
            received="--span without --data" if span else "--data without --span",
        )
    chosen = runner_command.chosen(runner)
    from headrace.components.ingest import ingest as work
    from headrace.components.ingest.config import IngestConfig
    from headrace.components.ingest.window import Window

    file = load_problem(problem)
    arrivals = (_arrival(file, span, data, csv),) if span else ()
    config = IngestConfig(
        arrivals, root, output, Window(last_spans, last_days), withdrawn, half_life, baseline, csv, chosen
    )
    config.check(file)
    with showing("ingest", output) as (console, report):
        result = work.ingest(file, config, report)
        if as_json:
            print_json({**vars(result), "output": output}, console.file)
            return
        for line in _lines(result, span, output):
            console.print(line)


def _arrival(file: ProblemFile, span: str, data: str, csv: tuple[str, ...]) -> Arrival:
    from headrace.core.ledger.inbox import Arrival, data_version_of
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version, list_paths

    version = data_version(list_paths(data), CsvDialect.parse(csv))
    return Arrival(
        version=data_version_of(file.problem.schema_digest, span, version),
        span=span,
        data=data,
        data_version=version,
        reason="command",
        event="",
        at=datetime.datetime.now(datetime.UTC).isoformat(),
    )


def _lines(result: IngestResult, span: str, output: str) -> list[str]:
    lines = [f"span {bad.span} is quarantined, {counted(bad.rows, 'row')}: {bad.why}" for bad in result.quarantined]
    lines += [f"all rows: headrace quarantine show {bad.quarantine}" for bad in result.quarantined if bad.rows]
    if span and not result.others and span not in result.added:
        lines.append(f"span {span} is not in the window: it has no rows, or is older than the window")
    if not result.identity:
        return [*lines, f"no span is left, so there is no window: {output}"]
    names = f"{counted(len(result.spans), 'span')} ({listed(result.spans)})"
    rows = f"{counted(result.rows_in, 'row')} in = {result.rows_out:,} out + {result.rows_quarantined:,} quarantined"
    return [*lines, f"window of {names}, {rows}: {output}"]
