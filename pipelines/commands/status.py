"""`headrace status`: shows the runs of a platform, or a run and its tasks; without a platform, this machine."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.platform_options import PlatformLocation
from headrace.pipelines.commands.submit import follow_to_end, poll
from headrace.pipelines.commands.text_table import aligned, moment, took
from headrace.pipelines.runs.resolve import DEFAULT_ROOT

if TYPE_CHECKING:
    from headrace.components.deploy.local.status import ListedEndpoint
    from headrace.pipelines.runs.machine import MachineStatus
    from headrace.pipelines.runs.records import RunRecord
    from headrace.pipelines.submission.run import PlatformRun


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="[RUN]", required=False, default="")
@functools.partial(platform_options.place, required=False)
@click.option(
    "--root", default="", metavar="DIR", help=f"Without --platform: the root of the runs (default: {DEFAULT_ROOT})."
)
@click.option(
    "--wait", is_flag=True, help="Show the tasks' progress until the run has ended, and exit with its status."
)
@json_option
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of runs in the list."
)
@poll
def status(
    run_id: str, place: PlatformLocation, root: str, wait: bool, as_json: bool, limit: int, poll_seconds: float
) -> None:
    """Show a run and its tasks, or without RUN the newest runs.

    Without --platform, show this machine: the newest run of --root, running runs, and the endpoints.

    \b
    Examples:
      headrace status --root out
      headrace status --platform vertex --options vertex.toml
      headrace status natality-0123456789ab --platform kubeflow --kubeflow-url http://127.0.0.1:8888 --wait
    """
    if not place.platform:
        _this_machine(run_id, place, root or DEFAULT_ROOT, wait, as_json)
        return None
    if root:
        raise UsageError(f"{place.platform} has no root", where="--root", expected="--root without --platform")
    from headrace.core.retry import RetryPolicy, retry
    from headrace.pipelines.submission import follow

    if wait and not run_id:
        raise UsageError("the run is missing", where="--wait", expected="RUN")
    with platform_options.service(place) as service:
        if not run_id:
            runs = retry(lambda: service.runs(limit), RetryPolicy())
            if as_json:
                print_json([run.to_json() for run in runs])
            else:
                click.echo("\n".join(map(_line, runs)) or f"no runs on {place.platform}")
            return None
        run = follow.find(service, run_id, RetryPolicy())
        if wait:
            return follow_to_end(service, run, place, poll_seconds, as_json=as_json)
        if as_json:
            print_json(run.to_json())
        else:
            click.echo(_text(run))
    return None


def _this_machine(run_id: str, place: PlatformLocation, root: str, wait: bool, as_json: bool) -> None:
    """Prints the status of a root, or of one run of it."""
    if place.arguments or wait:
        option = "--wait" if wait else place.arguments.split()[0]
        raise UsageError(
            f"{option} requires a platform", where=option, expected="--platform vertex or --platform kubeflow with it"
        )
    if run_id:
        from headrace.pipelines.runs.resolve import resolve_run

        run = resolve_run(run_id, root)
        if as_json:
            print_json(run)
        else:
            click.echo(_run_text(run))
        return
    from headrace.pipelines.runs.machine import machine_status

    found = machine_status(root)
    if as_json:
        print_json(found)
    else:
        click.echo(_machine_text(found))


def _machine_text(found: MachineStatus) -> str:
    lines = [("root", found.root)]
    lines.append(("newest run", "none" if found.latest is None else _run_line(found.latest)))
    lines += [("running", _run_line(run)) for run in found.under_way] or [("running", "none")]
    lines += [("endpoint", _endpoint_text(one)) for one in found.endpoints] or [("endpoint", "none")]
    return aligned(lines)


def _run_line(run: RunRecord) -> str:
    facts = [run.run_id, f"{run.status} ({run.step})" if run.step else run.status, moment(run.started)]
    if run.finished is not None or run.status == "running":
        facts.append(took(run.started, run.finished, time.time()))
    return ", ".join(fact for fact in (*facts, run.data) if fact)


def _run_text(run: RunRecord) -> str:
    lines = [("run", _run_line(run)), ("folder", run.folder), ("problem", run.problem), ("data", run.data)]
    lines += [
        ("metric", f"{name} {measured['value']:.4g}") for name, measured in run.metrics.items() if measured["value"]
    ]
    lines += [("model version", run.model_version or "none"), *run.outputs.items(), ("message", run.message)]
    return aligned([line for line in lines if line[1]])


def _endpoint_text(one: ListedEndpoint) -> str:
    if one.status is None:
        return f"{one.folder}: {one.error}"
    if one.status.live is None:
        return f"{one.folder}: nothing was ever live"
    answers = f"answers at {one.status.url}" if one.status.healthy else "does not answer"
    return f"{one.status.name}: version {one.status.live} {answers}"


def _line(run: PlatformRun) -> str:
    lasted = took(run.created, run.finished, time.time())
    return f"{run.run_id:<48} {run.state:<10} {moment(run.created):<20}  {lasted}".rstrip()


def _text(run: PlatformRun) -> str:
    from headrace.pipelines.submission.tasks import leaves

    lines = [_line(run)]
    for name in leaves(run.spec):
        task = run.tasks.get(name)
        if task is None:
            lines.append(f"  {name:<20} waiting" if not run.ended else f"  {name:<20} not run")
            continue
        message = f"  {task.message}" if task.message and task.state in ("failed", "cancelled") else ""
        lines.append(
            f"  {name:<20} {task.state:<10} {took(task.started, task.finished, time.time())}{message}".rstrip()
        )
    if run.message:
        lines.append(run.message)
    lines.append(run.page)
    return "\n".join(lines)
