"""`headrace trigger messages`: spans from Pub/Sub messages, by a streaming job."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headrace.core.signals import stop_on_signals
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands import trigger_options
from headrace.pipelines.commands.option_groups import GroupedCommand, group
from headrace.pipelines.commands.run_argument import EXAMPLES

if TYPE_CHECKING:
    from headrace.components.messages.config import MessagesConfig
    from headrace.core.beam.runners import RunnerOptions

_window = group("Windows")
_training = group("Training")
_tables = group("BigQuery")


@click.command(cls=GroupedCommand)
@trigger_options.settings
@click.option(
    "--subscription",
    required=True,
    metavar="NAME",
    help="Subscription of the messages: projects/PROJECT/subscriptions/NAME. It belongs to this job alone.",
)
@click.option(
    "--output", required=True, metavar="PATH", help="Folder of the stream's own, for spans/ and dead-letters/."
)
@_window("--window-seconds", default=300, show_default=True, metavar="N", help="Length of a window, in seconds.")
@_window(
    "--grace",
    "grace_seconds",
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time after its end in which a window accepts messages, in seconds; later ones are dead letters.",
)
@_window(
    "--time-attribute",
    default="",
    metavar="NAME",
    help="Attribute with the time of the row, in milliseconds since 1970 or in RFC 3339 (default: the time of "
    "publication).",
)
@_window(
    "--id-attribute",
    default="",
    metavar="NAME",
    help="Attribute that identifies a message, whoever publishes it again (default: the id of Pub/Sub).",
)
@_window(
    "--duplicates-within",
    "duplicates_seconds",
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Time in which an id of --id-attribute is a duplicate, over all windows, in seconds.",
)
@_tables(
    "--table", default="", metavar="bigquery://PROJECT.DATASET.TABLE", help="Table of BigQuery to load spans into."
)
@_tables("--dead-letter-table", default="", metavar="TABLE", help="Table to load dead letters into, in the same form.")
@_training(
    "--training-rows",
    default=10_000,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Number of new rows that request a training; 0 for no such rule.",
)
@_training(
    "--training-after",
    default=0.0,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Age of the oldest new span that requests a training, in seconds (default: any age).",
)
@_training(
    "--drift-from",
    default="",
    type=EXAMPLES,
    metavar="PATH_OR_RUN",
    help="Examples, their run, a Model or a statistics.json: a span that has drifted from it requests a training at "
    "once.",
)
@runner_command.runner
def messages(
    settings: str,
    subscription: str,
    output: str,
    window_seconds: int,
    grace_seconds: int,
    time_attribute: str,
    id_attribute: str,
    duplicates_seconds: int,
    table: str,
    dead_letter_table: str,
    training_rows: int,
    training_after: float,
    drift_from: str,
    runner: Mapping[str, Any],
) -> None:
    """Make spans of data from the messages of a Pub/Sub subscription, and request training when enough has come.

    A message is a JSON object with the columns of the Problem. The messages of a window become one Parquet file, which
    never changes. Messages that are malformed, late or there already go to dead-letters/, with their reason.

    With --runner DataflowRunner the job is started and goes on by itself. On this machine it runs until it is stopped,
    some 50 messages per second: to try out, as Beam acknowledges messages here before they are written.

    \b
    Example:
      headrace trigger messages --settings gs://my-bucket/headrace --output gs://my-bucket/births
          --subscription projects/my-project/subscriptions/births --runner DataflowRunner --project my-project ...
    """
    chosen = runner_command.chosen(runner)
    from headrace.components.messages.columns import columns_of
    from headrace.components.messages.config import MessagesConfig
    from headrace.components.messages.drift import SpanDrift
    from headrace.components.messages.request import RequestRule
    from headrace.core import storage
    from headrace.core.beam.stream import check_reachable, check_reads_pubsub
    from headrace.core.beam.windows import Windows
    from headrace.core.problem.file import load_problem
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.messages import DynamicTraining

    read = dynamic.read(settings)
    problem = load_problem(read.problem).problem
    config = MessagesConfig(
        stream=problem.name,
        subscription=subscription,
        output=output if storage.is_remote(output) else str(storage.local_path(output).absolute()),
        columns=columns_of(problem),
        windows=Windows(window_seconds, grace_seconds),
        id_attribute=id_attribute,
        time_attribute=time_attribute,
        duplicates_seconds=duplicates_seconds,
        settle_seconds=max(1, grace_seconds) if chosen.local else 0,
        table=table,
        dead_letter_table=dead_letter_table,
    )
    rule = RequestRule(training_rows or None, training_after or None, bool(drift_from))
    drift = SpanDrift(read.problem, drift_from) if drift_from else None
    places = {"--settings": read.uri, "--output": output, **({"--drift-from": drift_from} if drift_from else {})}
    check_reads_pubsub(chosen)
    check_reachable(chosen, places)
    _run(config, chosen, rule, DynamicTraining(read.uri), drift)


def _run(config: MessagesConfig, runner: RunnerOptions, rule: Any, training: Any, drift: Any) -> None:
    from headrace.components.messages.load import create_tables
    from headrace.components.messages.pipeline import aggregate, read_messages
    from headrace.core.beam.stream import run_stream
    from headrace.core.cloud.pubsub import require_subscription

    require_subscription(config.subscription)
    if config.table or config.dead_letter_table:
        create_tables(config)
    stop = threading.Event()
    log = logging.getLogger("headrace.messages")
    log.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)

    def started(result: Any) -> None:
        job = getattr(result, "job_id", None)
        click.echo(f"started: {job() if callable(job) else runner.name}, from {config.subscription}", err=True)

    name = f"headrace-messages-{config.stream.replace('_', '-').lower()}"
    try:
        with stop_on_signals(stop):
            run_stream(
                lambda pipeline: aggregate(read_messages(pipeline, config), config, rule, training, drift),
                runner,
                name,
                stop,
                started,
            )
    finally:
        log.removeHandler(handler)
    if runner.local:
        short = config.subscription.rpartition("/")[2]
        click.echo(
            "stopped. Messages of windows that are not written were acknowledged. Before the next start, have them "
            f"delivered again: gcloud pubsub subscriptions seek {short} --time=TIME. Spans that are there stay.",
            err=True,
        )
