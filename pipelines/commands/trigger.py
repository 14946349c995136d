"""`headrace trigger`: triggers dynamic training, and sets up what does."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.commands import trigger_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.trigger_alarm_topic import alarm_topic
from headrace.pipelines.commands.trigger_deployment import function, service
from headrace.pipelines.commands.trigger_messages import messages
from headrace.pipelines.commands.trigger_serve import serve

if TYPE_CHECKING:
    from headrace.core.ledger.pump import PumpResult


@click.group()
def trigger() -> None:
    """Trigger dynamic training: by HTTP requests, files in a bucket, alarms, or a schedule.

    However many triggers come, each data version gets one run, and while a run is under way the next one waits.
    `headrace watch` does it for files in a folder, `headrace dynamic add` and `headrace tick` by hand.
    """


trigger.add_command(serve)
trigger.add_command(function)
trigger.add_command(service)
trigger.add_command(messages)
trigger.add_command(alarm_topic)


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


_request = click.option("--request", is_flag=True, help="Request a training each time, and not only start what is due.")


@trigger.command(cls=GroupedCommand)
@trigger_options.settings
@click.option(
    "--cron",
    default="*/10 * * * *",
    show_default=True,
    metavar="CRON",
    help="Cron expression: minute, hour, day, month and weekday.",
)
@click.option(
    "--timezone", default="UTC", show_default=True, metavar="NAME", help="Time zone of --cron, such as Europe/Berlin."
)
@_request
@click.option("--allow-tags", is_flag=True, help="Allow images with tags, which may change, instead of digests.")
@json_option
def schedule(settings: str, cron: str, timezone: str, request: bool, allow_tags: bool, as_json: bool) -> None:
    """Create the schedule of a training on Vertex AI or Kubeflow, or change it: `headrace tick`, at each time.

    `headrace schedule list`, `pause`, `resume` and `delete` know it by the training's name with "-tick".
    """
    from headrace.pipelines.commands.schedule import check_times, print_schedule
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.schedule import put_schedule

    check_times(cron, timezone)
    found = dynamic.read(settings)
    made, new = put_schedule(found, cron, timezone, request=request, allow_tags=allow_tags)
    print_schedule(made, new=new, as_json=as_json)


@trigger.command(cls=GroupedCommand)
@trigger_options.settings
@click.option(
    "--cron",
    default="*/10 * * * *",
    show_default=True,
    metavar="CRON",
    help="Cron expression: minute, hour, day, month and weekday, in the machine's time zone.",
)
@_request
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
    folder = dynamic.read(settings).folder
    whole = folder if storage.is_remote(folder) else str(storage.resolve(folder))
    calls = [["dynamic", "request", whole]] if request else []
    line = " && ".join(shlex.join([sys.executable, "-m", "headrace", *call]) for call in [*calls, ["tick", whole]])
    # cron reads % as the end of the line.
    click.echo(f"{cron} ({line}) 2>&1 | logger -t headrace".replace("%", "\\%"))


def _print(pumped: PumpResult, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json({**pumped.to_json(), **more})
    else:
        click.echo(f"{pumped.did}: {pumped.why}")
