"""`headrace trigger`: triggers dynamic training, and sets up what does."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands import trigger_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.trigger_deployment import function, service
from headrace.pipelines.commands.trigger_messages import messages
from headrace.pipelines.commands.trigger_serve import serve

if TYPE_CHECKING:
    from headrace.core.ledger.pump import Pumped


@click.group()
def trigger() -> None:
    """Trigger dynamic training: by hand, by a schedule, by alarms, by HTTP requests, or by files in a bucket.

    However many triggers come, each data version gets one run, and while a run is under way the next one waits.
    `headrace watch` does it for files in a folder.
    """


trigger.add_command(serve)
trigger.add_command(function)
trigger.add_command(service)
trigger.add_command(messages)


@trigger.command(cls=GroupedCommand)
@trigger_options.settings
@click.option(
    "--data", default="", metavar="PATH", help="Rows that came (default: train with the rows that are there)."
)
@click.option("--span", default="", metavar="SPAN", help="Name of the span that --data is, such as a day.")
@click.option("--reason", default="request", show_default=True, metavar="TEXT", help="Reason, for the history.")
@click.option(
    "--event", default="", metavar="ID", help="ID of the event: without --data, a request of the same ID is one."
)
@json_option
def run(settings: str, data: str, span: str, reason: str, event: str, as_json: bool) -> None:
    """Announce data, or request a training, and start the run that is due.

    \b
    Examples:
      headrace trigger run --settings out --data 2026-11-20.csv --span 2026-11-20
      headrace trigger run --settings gs://my-bucket/headrace --reason schedule
    """
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.trigger import Event
    from headrace.pipelines.triggers.trigger import trigger as work

    if bool(data) != bool(span):
        raise UsageError("--data and --span belong together", where="--data" if data else "--span", expected="both")
    found = work(dynamic.read(settings), Event(reason, event, data, span), datetime.now(UTC))
    _print(found.pumped, as_json, arrival=found.arrival)


@trigger.command(cls=GroupedCommand)
@trigger_options.settings
@json_option
def tick(settings: str, as_json: bool) -> None:
    """Start the run that is due, or find out what became of the one under way; for a schedule, as often as it likes."""
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.dynamic.tick import tick as work

    _print(work(dynamic.read(settings), datetime.now(UTC)), as_json)


@trigger.command(cls=GroupedCommand)
@click.argument("monitoring", metavar="MONITORING")
@trigger_options.settings
@json_option
def alarm(monitoring: str, settings: str, as_json: bool) -> None:
    """Request a training if the last window of a Monitoring has an alarm; each alarm does so once.

    MONITORING is the output of `headrace monitor`, or its alarms.jsonl.
    """
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.alarms import trigger_by_alarms

    alarms, pumped = trigger_by_alarms(dynamic.read(settings), monitoring, datetime.now(UTC))
    if not as_json:
        for each in alarms:
            click.echo(f"alarm {each.id} {each.text}")
    _print(pumped, as_json, alarms=[each.id for each in alarms])


@trigger.command(cls=GroupedCommand)
@trigger_options.settings
@click.option(
    "--cron", default="*/5 * * * *", show_default=True, metavar="CRON", help="Times: minute, hour, day, month, weekday."
)
@click.option("--request", is_flag=True, help="Request a training each time, and not only start what is due.")
def cron(settings: str, cron: str, request: bool) -> None:
    """Print the line for the crontab of this machine.

    \b
    Example:
      (crontab -l; headrace trigger cron --settings out) | crontab -
    """
    from headrace.core import storage
    from headrace.pipelines.commands.schedule import check_cron
    from headrace.pipelines.dynamic import settings as dynamic

    check_cron(cron)
    uri = dynamic.read(settings).uri
    whole = uri if storage.is_remote(uri) else str(storage.resolve(uri))
    work = ["run", "--reason", "schedule"] if request else ["tick"]
    line = shlex.join([sys.executable, "-m", "headrace.pipelines.cli", "trigger", *work, "--settings", whole])
    # cron reads % as the end of the line.
    click.echo(f"{cron} {line} 2>&1 | logger -t headrace".replace("%", "\\%"))


def _print(pumped: Pumped, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json({"did": pumped.did, "run": pumped.run, "why": pumped.why, **more})
    else:
        click.echo(pumped.why)
