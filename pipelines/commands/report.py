"""`headrace report`: writes the report page of a run."""

from __future__ import annotations

import click

from headrace.core import storage
from headrace.core.artifacts.kinds import REPORT
from headrace.core.errors import UsageError
from headrace.core.storage.output_check import check_output
from headrace.pipelines.runs.records import read_summary
from headrace.pipelines.runs.resolve import DEFAULT_ROOT, resolve_run


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--root", default=DEFAULT_ROOT, show_default=True, metavar="DIR", help="Root of the run ids.")
def report(run: str, root: str) -> None:
    """Write report.html of RUN again: a run's id or folder, or a ROOT for its newest finished run."""
    from headrace.pipelines.report.page import write_report

    found = resolve_run(run, root)
    page = storage.join(found.folder, "report.html")
    check_output(page, REPORT, option="RUN")
    summary = read_summary(found.folder)
    if summary is None:
        raise UsageError("the run has no summary yet", where=found.folder, received=f"status {found.status}")
    write_report(summary, page)
    click.echo(page)
