"""`headrace status`: the runs of a platform, or one run and its tasks."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.platform_options import Place
from headrace.pipelines.commands.submit import follow_to_end, poll

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import Run


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="[RUN]", required=False, default="")
@platform_options.place
@click.option("--wait", is_flag=True, help="Show the tasks' progress until the run has ended, and exit as it did.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, or one a line for a list.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Runs in a list.")
@poll
def status(run_id: str, place: Place, wait: bool, as_json: bool, limit: int, poll_seconds: float) -> None:
    """Show a run and its tasks, or without RUN the newest runs.

    \b
    Examples:
      headrace status --platform vertex --options vertex.toml
      headrace status natality-0123456789ab --platform kubeflow --host http://127.0.0.1:8888 --wait
    """
    from headrace.core.errors import UsageError
    from headrace.pipelines.submission import follow
    from headrace.pipelines.submission.retry import Patience, asking

    if wait and not run_id:
        raise UsageError("which run?", where="--wait", expected="RUN")
    with platform_options.service(place) as service:
        if not run_id:
            runs = asking(lambda: service.runs(limit), Patience())
            for run in runs:
                click.echo(json.dumps(_to_json(run)) if as_json else _line(run))
            if not runs and not as_json:
                click.echo(f"no runs on {place.platform}")
            return None
        run = follow.find(service, run_id, Patience())
        if wait:
            return follow_to_end(service, run, place, poll_seconds)
        click.echo(json.dumps(_to_json(run), indent=1) if as_json else _text(run))
    return None


def _to_json(run: Run) -> dict[str, Any]:
    told = dataclasses.asdict(run)
    told.pop("spec")
    told["tasks"] = list(told["tasks"].values())
    return told


def _line(run: Run) -> str:
    return f"{run.run_id:<48} {run.state:<10} {_moment(run.created)}  {_took(run.created, run.finished)}".rstrip()


def _text(run: Run) -> str:
    from headrace.pipelines.submission.tasks import leaves

    lines = [_line(run)]
    for name in leaves(run.spec):
        task = run.tasks.get(name)
        if task is None:
            lines.append(f"  {name:<20} waiting" if not run.ended else f"  {name:<20} not run")
            continue
        message = f"  {task.message}" if task.message and task.state in ("failed", "cancelled") else ""
        lines.append(f"  {name:<20} {task.state:<10} {_took(task.started, task.finished)}{message}".rstrip())
    if run.message:
        lines.append(run.message)
    lines.append(run.page)
    return "\n".join(lines)


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return " " * 20
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _took(started: float | None, finished: float | None) -> str:
    if started is None:
        return ""
    return f"{max(0.0, (finished or time.time()) - started):.0f} s"
