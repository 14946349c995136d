"""`headrace monitor`: measures a model's requests, and reports alarms."""

from __future__ import annotations

import time as clock
from typing import Any

import click

from headrace.core.errors import GateRefused
from headrace.core.problem.file import load_problem
from headrace.core.text import counted
from headrace.pipelines.commands import options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.run_argument import EVALUATION, EXAMPLES


@click.command(cls=GroupedCommand)
@options.problem
@click.option(
    "--reference",
    required=True,
    type=EXAMPLES,
    metavar="PATH_OR_RUN",
    help="What rows are compared with: Examples, their run, a Model, an endpoint folder, a statistics.json, an earlier "
    "Monitoring, or rows.",
)
@options.data
@options.output
@click.option(
    "--labels", default="", metavar="PATH", help="Table of keys and labels, which may come late, for the metrics."
)
@click.option(
    "--evaluation",
    default="",
    type=EVALUATION,
    metavar="DIR_OR_RUN",
    help="Evaluation of the model, or its run: the metric on labels is compared with it.",
)
@click.option(
    "--time",
    default="",
    metavar="COLUMN",
    help="Time of a row: a time in UTC, or seconds since 1970 (default: that of a request log; no windows without).",
)
@click.option(
    "--window", default="1d", show_default=True, metavar="PERIOD", help="Length of a window: a number and m, h, d or w."
)
@click.option("--prediction", default="prediction", show_default=True, metavar="COLUMN", help="Column of predictions.")
@click.option(
    "--model-version",
    "version",
    default="",
    metavar="VERSION",
    help="Version of the model whose rows are measured, by the column version or model_version (default: all rows).",
)
@click.option(
    "--label-time",
    default="",
    metavar="COLUMN",
    help="Time when a label arrived, in --labels; of several labels of a key, the latest counts.",
)
@click.option(
    "--label-wait",
    default="30d",
    show_default=True,
    metavar="PERIOD",
    help="Maximum time from a row to its label: a number and m, h, d or w.",
)
@option(
    "--joined-rows",
    default=1_000_000,
    show_default=True,
    rare=True,
    metavar="N",
    help="Maximum number of predictions in memory for the labels; of more, a sample by key is joined.",
)
@click.option(
    "--trained-at", default="", metavar="TIME", help="Time of the training, in ISO 8601, for the model's age."
)
@option("--now", default="", metavar="TIME", rare=True, help="Time of the measurement, in ISO 8601 (default: now).")
@options.csv
@click.option("--fail-on-alarm", is_flag=True, help="Exit status 3 if there is an alarm.")
@json_option
def monitor(
    problem: str,
    window: str,
    label_wait: str,
    trained_at: str,
    now: str,
    csv: tuple[str, ...],
    fail_on_alarm: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure a model's requests by window of time: skew, drift, metrics on late labels, and age.

    The output holds monitoring.json, alarms.jsonl with an event per alarm, and monitoring.html with plots over time.
    Thresholds are those of the Problem's `monitor`.

    \b
    Examples:
      headrace monitor --problem natality.py --reference out/examples --data 'log/*.parquet' --output out/monitoring
      headrace monitor --problem natality.py --reference out/examples --data 'scored/*.parquet' --time scored_at
          --labels births.csv --label-wait 14d --output out/monitoring --fail-on-alarm
    """
    # The page needs it: without it, the command ends before the work.
    import jinja2  # noqa: F401

    from headrace.components.monitor import monitor as work
    from headrace.components.monitor.config import MonitorConfig, period, seconds_of
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.pipelines.report.monitoring.page import render

    config = MonitorConfig(
        now=seconds_of(now, "--now") if now else clock.time(),
        window=period(window, "--window"),
        label_wait=period(label_wait, "--label-wait"),
        trained=seconds_of(trained_at, "--trained-at") if trained_at else None,
        csv=CsvDialect.parse(csv),
        **given,
    )
    config.check_output(problem)
    file = load_problem(problem)
    with showing("monitor", config.output) as (console, report):
        config, reference = work.identified(file, config, csv)
        result = work.monitor(file, config, report, render, reference)
        if as_json:
            print_json({**vars(result), "output": config.output}, console.file)
        else:
            console.print(f"{counted(result.rows, 'row')} in {counted(result.windows, 'window')}: {config.output}")
            if result.labels is not None:
                found = result.labels
                console.print(f"labels: {found.joined:,} joined, {found.waiting:,} waiting, {found.expired:,} expired")
            for alarm in result.alarms:
                console.print(f"alarm {alarm.id} {alarm.text}", markup=False)
            console.print("no alarm" if not result.alarms else counted(len(result.alarms), "alarm"))
    if fail_on_alarm and result.alarms:
        raise GateRefused(f"monitoring raised {counted(len(result.alarms), 'alarm')}", where=config.output)
