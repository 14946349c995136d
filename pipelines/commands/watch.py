"""`headrace watch`: triggers dynamic training for the spans that come into a folder."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import datetime

import click

from headrace.pipelines.commands import trigger_options
from headrace.pipelines.commands.durations import Duration
from headrace.pipelines.commands.option_groups import GroupedCommand


@click.command(cls=GroupedCommand)
@click.argument("spans", metavar="DIR")
@trigger_options.settings
@trigger_options.closed_by
@click.option(
    "--poll",
    "poll_s",
    type=Duration(),
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="Time between two listings of the folder where the system reports no changes, as on network file systems.",
)
@trigger_options.tick
@click.option("--once", is_flag=True, help="List the folder once, and end, as for cron.")
def watch(spans: str, settings: str, closed_by: str, poll_s: float, tick_s: float, once: bool) -> None:
    """Announce each span that is complete in a folder or on gs://, and start the run that is due, until SIGTERM.

    A folder in DIR is a span of several files, and a file in DIR a span of its own. A span that was announced and
    changes is a corrected one, and is announced again when it is complete again. After a restart nothing is missed, and
    nothing is trained with twice.

    \b
    Examples:
      headrace watch incoming --settings out --closed-by marker
      headrace watch gs://my-bucket/flights --settings gs://my-bucket/headrace --closed-by quiet=10m
    """
    from headrace.core.errors import UsageError
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.closing import ClosingRule
    from headrace.pipelines.triggers.watch import WatchConfig, Watcher
    from headrace.pipelines.triggers.watch import watch as work

    config = WatchConfig(spans, ClosingRule.parse(closed_by), poll_s, tick_s)
    if once and config.closing.quiet_s:
        raise UsageError(
            "one look cannot know for how long a span has been quiet",
            where="--once",
            expected="--closed-by marker, manifest or object",
            received=closed_by,
        )
    found = dynamic.read(settings)
    config.check(found)
    watcher = Watcher(config, lambda: dynamic.read(found.uri), _report)
    if once:
        watcher.look()
        sys.exit(watcher.exit_status)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _report(f"watching {spans}; spans close by {config.closing}")
    work(watcher, config, stop, _report)
    _report("ended")


def _report(text: str) -> None:
    # Names of files need not be text.
    plain = text.encode(errors="backslashreplace").decode()
    click.echo(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {plain}")
