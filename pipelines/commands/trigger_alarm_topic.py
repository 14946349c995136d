"""`headrace trigger alarm-topic`: trainings by the alarms of a stream, from a Kafka topic."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import click

from headrace.core.signals import stop_on_signals
from headrace.pipelines.commands import kafka_options, trigger_options
from headrace.pipelines.commands.option_groups import GroupedCommand


@click.command("alarm-topic", cls=GroupedCommand)
@trigger_options.settings
@kafka_options.bootstrap
@click.option("--alarm-topic", "topic", required=True, metavar="TOPIC", help="Topic of alarm events.")
@click.option("--app", default="", metavar="NAME", help="Application of alarms (default: the training's name).")
@click.option(
    "--group", default="", metavar="NAME", help="Consumer group (default: headrace-alarms-, and the application)."
)
@trigger_options.tick
@kafka_options.properties
def alarm_topic(settings: str, app: str, group: str, **given: Any) -> None:
    """Request a training for each metric alarm of `headrace stream labels`, once, until SIGTERM or Ctrl-C.

    An alarm that is delivered again finds its request. While a run is under way, alarms wait, and those about a version
    that it replaced request nothing. After a restart nothing is missed.

    \b
    Example:
      headrace trigger alarm-topic --settings out --bootstrap localhost:9092 --alarm-topic alarms
    """
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.alarm_topic import AlarmTopicConfig, trigger_by_alarm_topic

    found = dynamic.read(settings)
    app = app or found.name
    config = AlarmTopicConfig(app=app, group=group or f"headrace-alarms-{app}", **given)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    with stop_on_signals(stop):
        trigger_by_alarm_topic(config, lambda: dynamic.read(found.uri), lambda text: click.echo(text, err=True), stop)
