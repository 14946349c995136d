"""`headrace stream`: predictions on records as they arrive, by models that arrive as events."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from headrace.pipelines.commands import kafka_options, options, stream_options
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.run_argument import EVALUATION
from headrace.pipelines.commands.stream_pubsub import pubsub

# Of periods: windows of a stream are shorter than those of monitoring.
_UNITS = "smhd"


@click.group()
def stream() -> None:
    """Score records as they arrive, with the model that the newest model event names."""


stream.add_command(pubsub)


@stream.command(cls=GroupedCommand)
@kafka_options.bootstrap
@click.option("--group", required=True, metavar="NAME", help="Consumer group: its members share the records.")
@click.option(
    "--route",
    "routes",
    required=True,
    multiple=True,
    metavar="APP=RECORDS:PREDICTIONS",
    help="Application of model events, topic of its records and topic of its predictions (repeatable).",
)
@click.option(
    "--model-topic", default="", metavar="TOPIC", help="Topic of model events, which is read from its beginning."
)
@click.option(
    "--dead-letter-topic",
    "dead_letters",
    required=True,
    metavar="TOPIC",
    help="Topic of records without a prediction, with the reason in their headers.",
)
@click.option(
    "--alarm-topic", "alarms", default="", metavar="TOPIC", help="Topic of alarm events (default: the log alone)."
)
@click.option(
    "--format",
    "format_",
    default="json",
    show_default=True,
    type=click.Choice(("json", "arrow")),
    help="Format of record values: json, one object per record, or arrow, an Arrow IPC stream of one or more rows.",
)
@click.option(
    "--without-model",
    default="skip",
    show_default=True,
    type=click.Choice(("skip", "hold")),
    help="Before the first model: skip sends records to the dead-letter topic, hold stops reading them.",
)
@click.option(
    "--model-root",
    "model_roots",
    multiple=True,
    metavar="DIR",
    help="Folder that models may be in, other ones are refused: a model can run code (repeatable; default: any).",
)
@options.rules
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address of the port for health and metrics.",
)
@click.option(
    "--port",
    default=9090,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port for GET /health, /ready and /metrics; 0 for any free port.",
)
@option(
    "--batch-records", default=1000, show_default=True, rare=True, metavar="N", help="Maximum records per batch."
)  # fmt: skip
@option(
    "--batch-bytes", default=16 << 20, show_default=True, rare=True, metavar="BYTES",
    help="Approximate maximum size of the records in memory, in bytes.",
)  # fmt: skip
@option(
    "--drain", "drain_s", default=30.0, show_default=True, rare=True, metavar="SECONDS",
    help="Maximum time to finish the batch after SIGTERM, in seconds.",
)  # fmt: skip
@stream_options.endpoint
@kafka_options.properties
def kafka(
    format_: Any,
    routes: tuple[str, ...],
    host: str,
    port: int,
    **given: Any,
) -> None:
    """Score records of Kafka topics as a member of a consumer group, until SIGTERM or Ctrl-C.

    What has arrived is scored as one batch. A record whose row breaks a rule of the Model, or on which the model fails,
    goes to the dead-letter topic. Offsets are committed after all results are delivered: at least once.

    A newer model is loaded while records are scored, verified against the digest in its event, and checked on its
    golden rows. A bad one is refused, and the one in use stays. With --endpoint-url instead of --model-topic, records
    are scored by requests.

    \b
    Example:
      headrace stream kafka --bootstrap localhost:9092 --group scorers --route taxi=rides:fares
          --model-topic models --dead-letter-topic rides-dead
    """
    from headrace.components.stream.kafka.config import KafkaConfig, Route

    config = KafkaConfig(
        routes=[Route.parse(text) for text in routes],
        format=format_,
        **given,
    )
    from headrace.components.stream.kafka.run import score_stream

    _log()
    score_stream(config, host=host, port=port, report=_report)


@stream.command(cls=GroupedCommand)
@options.problem
@kafka_options.bootstrap
@click.option("--app", required=True, metavar="NAME", help="Application, for the events.")
@click.option(
    "--prediction-topic", "predictions", required=True, metavar="TOPIC", help="Topic of predictions, in JSON."
)
@click.option(
    "--label-topic",
    "labels",
    required=True,
    metavar="TOPIC",
    help="Topic of labels: objects with the label by its name, keyed as the records are.",
)
@click.option(
    "--metric-topic", "metrics", required=True, metavar="TOPIC", help="Topic for a metric event per window and version."
)
@click.option("--alarm-topic", "alarms", required=True, metavar="TOPIC", help="Topic for alarm events.")
@click.option(
    "--window", default="5m", show_default=True, metavar="PERIOD", help="Length of a window: a number and s, m, h or d."
)
@click.option(
    "--label-wait",
    default="1h",
    show_default=True,
    metavar="PERIOD",
    help="Maximum time from a record to its label: a number and s, m, h or d.",
)
@click.option(
    "--evaluation",
    default="",
    type=EVALUATION,
    metavar="DIR_OR_RUN",
    help="Evaluation of the model, or its run, which the metric on labels is compared with, in addition to the gate's "
    "bounds.",
)
@option(
    "--joined-rows", "most", default=1_000_000, show_default=True, rare=True, metavar="N",
    help="Maximum predictions, and maximum labels, in memory; beyond it, a sample by key is joined.",
)  # fmt: skip
@kafka_options.properties
def labels(
    problem: str,
    window: str,
    label_wait: str,
    evaluation: str,
    **given: Any,
) -> None:
    """Join labels with predictions by key, and publish the metric of each window, until SIGTERM or Ctrl-C.

    A window whose metric is beyond the gate's bound, or worse than at evaluation by more than the Problem's monitor
    allows, is an alarm event.
    """
    from headrace.components.monitor.config import period
    from headrace.components.stream.kafka.label_config import LabelConfig
    from headrace.core.problem.file import load_problem

    config = LabelConfig(
        window_s=period(window, "--window", _UNITS),
        wait_s=period(label_wait, "--label-wait", _UNITS),
        **given,
    )
    file = load_problem(problem)
    from headrace.components.stream.kafka.run import join_labels

    _log()
    join_labels(file.problem, config, evaluation=evaluation, report=_report)


def _log() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _report(message: str, **_: Any) -> None:
    click.echo(message, err=True)
