"""`headrace report`: the page about a run."""

from __future__ import annotations

import click

from headrace.core import storage
from headrace.core.artifacts.kinds import REPORT
from headrace.core.errors import UsageError
from headrace.core.storage.output_check import check_output


@click.command()
@click.argument("run", metavar="RUN")
def report(run: str) -> None:
    """Write report.html of RUN again: a folder under ROOT/runs, or a ROOT for its latest run."""
    from headrace.pipelines.report.page import write_report

    folder = find_run(run)
    page = storage.join(folder, "report.html")
    check_output(page, REPORT, option="RUN")
    write_report(storage.read_json(storage.join(folder, "summary.json")), page)
    click.echo(page)


def find_run(path: str) -> str:
    """The folder of a run, from that folder or from a root.

    Raises:
        UsageError: there is no finished run.
    """
    if storage.exists(storage.join(path, "summary.json")):
        return path
    runs = storage.local_path(storage.join(path, "runs"))
    finished = sorted(runs.glob("*/summary.json"), key=lambda summary: summary.stat().st_mtime)
    if not finished:
        raise UsageError(
            "there is no finished run", where=path, expected="a folder under ROOT/runs with summary.json, or a ROOT"
        )
    return str(finished[-1].parent)
