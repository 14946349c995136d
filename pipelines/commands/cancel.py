"""`headrace cancel`: cancels a run, and records its state."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import click

from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.platform_options import PlatformLocation
from headrace.pipelines.commands.submit import poll

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import PlatformRun


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="RUN")
@platform_options.place
@poll
@json_option
def cancel(run_id: str, place: PlatformLocation, poll_seconds: float, as_json: bool) -> None:
    """Cancel a run, and wait until it has ended.

    The running tasks are printed, and recorded below the run's root if it can be written from here. The same submission
    resumes after the finished tasks.

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
            if as_json:
                print_json({**run.to_json(), "record": None})
            else:
                click.echo(f"{run.run_id}: has already ended, {run.state}")
            return
        try:
            retry(lambda: service.cancel(run), RetryPolicy())
        except UsageError:
            # It may have ended in the meantime, and then cannot be cancelled.
            if not follow.find(service, run_id, RetryPolicy()).ended:
                raise
        click.echo(f"{run.run_id}: cancelling", err=as_json)
        run = follow.follow(service, run, lambda _: None, poll_s=poll_seconds, policy=RetryPolicy(total_s=600.0))
        kept = _keep(run, place.platform)
        if as_json:
            print_json({**run.to_json(), "record": kept or None})
            return
        for task in run.tasks.values():
            if task.state == "cancelled" or (task.jobs and task.state == "failed"):
                click.echo(f"  {task.name}: {task.state}" + (f", job {', '.join(task.jobs)}" if task.jobs else ""))
        click.echo(f"{run.run_id}: {run.state}" + (f", recorded in {kept}" if kept else ""))


def _keep(run: PlatformRun, platform: str) -> str:
    """Writes the state of the run below its root: no exit task does that for a cancelled run."""
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
        # The root is local to the cluster, or access is denied: the run is cancelled in any case.
        pass
    return ""
