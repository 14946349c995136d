"""`headrace schedule`: schedules a compiled pipeline."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.platform_options import PlatformLocation
from headrace.pipelines.commands.submit import inputs as input_options
from headrace.pipelines.submission.prepare import prepare

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import Schedule

_FIELDS = 5
_name = click.argument("name", metavar="NAME")


@click.group()
def schedule() -> None:
    """Schedule a compiled pipeline on Vertex AI or Kubeflow; its runs do not overlap.

    Every run has the same parameters, and reads the data that exists then. With --data-version, every run uses the
    results cached for that version.
    """


@schedule.command(name="set", cls=GroupedCommand)
@click.argument("spec", metavar="FILE.yaml")
@platform_options.place
@input_options
@click.option(
    "--cron",
    required=True,
    metavar="CRON",
    help='Cron expression: minute, hour, day, month and weekday, such as "0 3 * * *".',
)
@click.option(
    "--timezone", default="UTC", show_default=True, metavar="NAME", help="Time zone of --cron, such as Europe/Berlin."
)
@click.option(
    "--name", default="", metavar="NAME", help="Name of the schedule (default: from the pipeline and the problem)."
)
@click.option("--no-cache", is_flag=True, help="Run every task, whatever the platform has cached.")
@json_option
def set_(
    spec: str,
    place: PlatformLocation,
    inputs: dict[str, Any],
    cron: str,
    timezone: str,
    name: str,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Create a schedule, or update the pipeline, the parameters or the times of the one of that name.

    \b
    Example:
      headrace schedule set scoring.yaml --platform vertex --options vertex.toml --root gs://my-bucket/headrace \\
        --cron "0 3 * * *" --timezone Europe/Berlin
    """
    from headrace.core.problem import copies
    from headrace.core.retry import RetryPolicy
    from headrace.pipelines.submission import submitting

    check_times(cron, timezone)
    prepared = prepare(spec, place, inputs, name, data_later=True, cache=not no_cache)
    # Without the digest, as the parameters of a schedule may change.
    called = name or prepared.run_id.rpartition("-")[0]
    parameters = dict(prepared.submission.parameters)
    if "run_id" in parameters:
        parameters["run_id"] = called
    submission = dataclasses.replace(prepared.submission, parameters=parameters)
    with platform_options.service(place) as service:
        copies.write(prepared.upload)
        made, new = submitting.put_schedule(service, called, cron, timezone, submission, RetryPolicy())
        print_schedule(made, new=new, as_json=as_json)


@schedule.command(name="list", cls=GroupedCommand)
@platform_options.place
@json_option
def list_(place: PlatformLocation, as_json: bool) -> None:
    """List the schedules."""
    from headrace.core.retry import RetryPolicy, retry

    with platform_options.service(place) as service:
        found = retry(service.schedules, RetryPolicy())
        if as_json:
            print_json(found)
            return
        for one in found:
            click.echo(describe(one))


@schedule.command(cls=GroupedCommand)
@_name
@platform_options.place
def pause(name: str, place: PlatformLocation) -> None:
    """Pause a schedule; a running run continues."""
    _set_paused(name, place, True)


@schedule.command(cls=GroupedCommand)
@_name
@platform_options.place
def resume(name: str, place: PlatformLocation) -> None:
    """Resume a schedule; missed runs are not caught up."""
    _set_paused(name, place, False)


@schedule.command(cls=GroupedCommand)
@_name
@platform_options.place
def delete(name: str, place: PlatformLocation) -> None:
    """Delete a schedule; its runs are kept."""
    from headrace.core.retry import RetryPolicy, retry
    from headrace.pipelines.submission import submitting

    with platform_options.service(place) as service:
        found = submitting.find_schedule(service, name, RetryPolicy())
        retry(lambda: service.delete_schedule(found), RetryPolicy())
        click.echo(f"deleted: {name}")


def _set_paused(name: str, place: PlatformLocation, paused: bool) -> None:
    from headrace.core.retry import RetryPolicy, retry
    from headrace.pipelines.submission import submitting

    with platform_options.service(place) as service:
        found = submitting.find_schedule(service, name, RetryPolicy())
        retry(lambda: service.set_paused(found, paused), RetryPolicy())
        click.echo(f"{'paused' if paused else 'active'}: {name}")


def check_cron(cron: str) -> None:
    """Refuses a cron expression without five fields.

    Raises:
        UsageError: it has not.
    """
    if len(cron.split()) != _FIELDS:
        raise UsageError(
            "the cron expression is not valid",
            where="--cron",
            expected='five fields: minute, hour, day of the month, month, day of the week, as "0 3 * * *"',
            received=repr(cron),
        )


def check_times(cron: str, timezone: str) -> None:
    """Refuses a cron expression without five fields, and a time zone that does not exist.

    Raises:
        UsageError: one of them is not valid.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    check_cron(cron)
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            "the time zone does not exist",
            where="--timezone",
            expected="such as Europe/Berlin",
            received=repr(timezone),
        ) from error


def print_schedule(made: Schedule, *, new: bool, as_json: bool) -> None:
    """Prints a schedule that was created or updated."""
    if as_json:
        print_json({**vars(made), "new": new})
    else:
        click.echo(f"{'created' if new else 'updated'}: {describe(made)}")


def describe(one: Schedule) -> str:
    """A schedule as a line."""
    when = f", next {one.next_run}" if one.next_run else ""
    return f'{one.name}: {one.state}, "{one.cron}" {one.timezone}{when}'
