"""`headrace logs`: prints the log of a run's tasks."""

from __future__ import annotations

import time

import click

from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.platform_options import PlatformLocation
from headrace.pipelines.commands.submit import poll


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="RUN")
@platform_options.place
@click.option("--task", default="", metavar="NAME", help="Name of a task, to print only its log.")
@click.option("--follow", "-f", is_flag=True, help="Follow the log until the run has ended.")
@poll
def logs(run_id: str, place: PlatformLocation, task: str, follow: bool, poll_seconds: float) -> None:
    """Print the log of a run, or of one of its tasks, oldest lines first.

    \b
    Example:
      headrace logs natality-0123456789ab --platform vertex --options vertex.toml --task train
    """
    from headrace.core.errors import UsageError
    from headrace.core.retry import RetryPolicy, retry
    from headrace.pipelines.submission import follow as following
    from headrace.pipelines.submission.tasks import leaves

    after = ""
    with platform_options.service(place) as service:
        while True:
            run = following.find(service, run_id, RetryPolicy())
            if task and task not in leaves(run.spec):
                raise UsageError(
                    "the task does not exist in the run",
                    where="--task",
                    expected=", ".join(leaves(run.spec)),
                    received=task,
                )
            for line in retry(lambda run=run, after=after: list(service.logs(run, task, after)), RetryPolicy()):  # type: ignore[misc]
                severity = "" if line.severity in ("DEFAULT", "INFO") else f"{line.severity} "
                click.echo(f"{line.when} {line.task}: {severity}{line.text}".strip())
                after = max(after, line.when)
            if not follow or run.ended:
                return
            time.sleep(poll_seconds)
