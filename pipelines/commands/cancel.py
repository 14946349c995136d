"""`headrace cancel`: end a run, and keep a record of what it had come to."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import click

from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.platform_options import Place
from headrace.pipelines.commands.submit import poll

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import Run


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="RUN")
@platform_options.place
@poll
def cancel(run_id: str, place: Place, poll_seconds: float) -> None:
    """Cancel a run, and wait until it has ended.

    What was running is said, and kept below the run's root where that can be written from here. The same submission
    again goes on from what had finished.

    \b
    Example:
      headrace cancel natality-0123456789ab --platform vertex --options vertex.toml
    """
    from headrace.core.errors import UsageError
    from headrace.core.retry import RetryPolicy, retry
    from headrace.pipelines.submission import follow

    with platform_options.service(place) as service:
        run = follow.find(service, run_id, RetryPolicy())
        if run.ended:
            click.echo(f"{run.run_id}: has ended already, {run.state}")
            return
        try:
            retry(lambda: service.cancel(run), RetryPolicy())
        except UsageError:
            # It may have ended in the meantime, which no platform lets one cancel.
            if not follow.find(service, run_id, RetryPolicy()).ended:
                raise
        click.echo(f"{run.run_id}: cancelling")
        run = follow.follow(service, run, lambda _: None, poll_s=poll_seconds, policy=RetryPolicy(total_s=600.0))
        for task in run.tasks.values():
            if task.state == "cancelled" or (task.jobs and task.state == "failed"):
                click.echo(f"  {task.name}: {task.state}" + (f", job {', '.join(task.jobs)}" if task.jobs else ""))
        kept = _keep(run, place.platform)
        click.echo(f"{run.run_id}: {run.state}" + (f", recorded in {kept}" if kept else ""))


def _keep(run: Run, platform: str) -> str:
    """Writes what the run had come to below its root: no exit task does it for a run that was cancelled."""
    from headrace.core import storage
    from headrace.core.errors import HeadraceError
    from headrace.core.steps import workspace

    root, run_id = (str(run.parameters.get(name) or "") for name in ("root", "run_id"))
    if not root or not run_id or (not storage.is_remote(root) and "://" in root):
        return ""
    uri = storage.join(workspace.run_uri(root, run_id), f"{run.run_id}.cancelled.json")
    tasks = [dataclasses.asdict(task) for task in run.tasks.values()]
    record = {
        "format": 1,
        "run_id": run.run_id,
        "platform": platform,
        "reference": run.reference,
        "state": run.state,
        "recorded": time.time(),
        "tasks": tasks,
    }
    try:
        if storage.is_remote(root) or storage.exists(root):
            storage.write_json(uri, record)
            return uri
    except HeadraceError:
        # The root is the cluster's own, or not this account's: the run is cancelled all the same.
        pass
    return ""
