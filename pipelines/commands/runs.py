"""`headrace runs`: lists the runs of a root."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.text_table import aligned, moment, took
from headrace.pipelines.runs.records import RunRecord, list_runs
from headrace.pipelines.runs.resolve import DEFAULT_ROOT


@click.command()
@click.argument("root", metavar="[ROOT]", default=DEFAULT_ROOT)
@json_option
def runs(root: str, as_json: bool) -> None:
    """List the runs of ROOT, newest first: status, start, data, metric and model version.

    ROOT is the --root of `headrace run` (default: headrace-runs), local, on gs:// or s3://.

    \b
    Example:
      headrace runs out
    """
    found = list_runs(root)
    if as_json:
        print_json([run.to_json() for run in found])
    elif found:
        click.echo(table(found))
    else:
        click.echo(f"no runs in {root}")


def table(runs: Sequence[RunRecord]) -> str:
    """The runs as lines, with a heading."""
    now = time.time()
    headings = ("RUN", "STATUS", "STARTED", "TOOK", "METRIC", "MODEL", "DATA")
    return aligned([headings, *(_row(run, now) for run in runs)])


def _row(run: RunRecord, now: float) -> tuple[str, ...]:
    metric = "" if run.headline is None else f"{run.headline[0]} {run.headline[1]:.4g}"
    status = f"{run.status} ({run.step})" if run.step else run.status
    lasted = took(run.started, run.finished, now) if run.finished is not None or run.status == "running" else ""
    return run.run_id, status, moment(run.started), lasted, metric, run.model_version or "", run.data
