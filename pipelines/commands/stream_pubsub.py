"""`headrace stream pubsub`: predictions on the messages of a Pub/Sub subscription, by a streaming job."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.core.signals import stop_on_signals
from headrace.pipelines.commands import options, stream_options
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands.option_groups import GroupedCommand, group, option

if TYPE_CHECKING:
    from headrace.components.score.options import EndpointOptions

_models = group("Model")
# How long predictions of a window of time are waited for.
_GRACE_SECONDS = 10


@click.command(cls=GroupedCommand)
@click.option("--app", required=True, metavar="NAME", help="Application of model events.")
@click.option(
    "--subscription",
    required=True,
    metavar="NAME",
    help="Subscription of the records: projects/PROJECT/subscriptions/NAME. No other job may read it.",
)
@click.option(
    "--prediction-topic",
    "predictions",
    default="",
    metavar="TOPIC",
    help="Topic of predictions: projects/PROJECT/topics/NAME.",
)
@click.option(
    "--bigquery-table",
    "table",
    default="",
    metavar="TABLE",
    help="Table to load predictions into, with or without a topic: bigquery://PROJECT.DATASET.TABLE.",
)
@click.option(
    "--load-every",
    "load_seconds",
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Length of the windows of time whose predictions are loaded into the table together, in seconds.",
)
@click.option(
    "--dead-letters",
    required=True,
    metavar="TOPIC",
    help="Topic of records without a prediction, with the reason in their attributes.",
)
@click.option("--alarms", default="", metavar="TOPIC", help="Topic of alarm events (default: the log alone).")
@_models(
    "--models",
    default="",
    metavar="PATH",
    help="Folder of model events, as `headrace registry promote --announce` writes them, or a registry.",
)
@_models(
    "--without-model",
    default="skip",
    show_default=True,
    type=click.Choice(("skip", "hold")),
    help="Before the first model: skip sends records to the dead-letter topic, hold lets Beam retry them.",
)
@_models(
    "--model-root",
    "model_roots",
    multiple=True,
    metavar="DIR",
    help="Folder that models may be in, other ones are refused: a model can run code (repeatable; default: any).",
)
@_models(
    "--look-every",
    "look_seconds",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Minimum time between two checks for a newer model, in seconds.",
)
@options.rules
@stream_options.endpoint
@click.option(
    "--id-attribute",
    default="",
    metavar="NAME",
    help="Attribute that identifies a record, also when it is published again (default: the id of Pub/Sub).",
)
@click.option(
    "--duplicates-within",
    "duplicates_seconds",
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long an id is remembered, in seconds: within it, a record is scored once; 0 remembers none.",
)
@option("--batch-records", default=1000, show_default=True, rare=True, metavar="N", help="Maximum records per batch.")
@runner_command.runner
def pubsub(
    app: str,
    subscription: str,
    predictions: str,
    table: str,
    load_seconds: int,
    dead_letters: str,
    alarms: str,
    models: str,
    without_model: Any,
    model_roots: tuple[str, ...],
    look_seconds: float,
    rules: Any,
    endpoint: EndpointOptions | None,
    id_attribute: str,
    duplicates_seconds: int,
    batch_records: int,
    runner: Mapping[str, Any],
) -> None:
    """Score the messages of a Pub/Sub subscription as they arrive, each a JSON object of features.

    A bundle of Beam's is one batch. A record whose row breaks a rule of the Model, or on which the model fails, goes to
    the dead-letter topic. A newer model is loaded while the one in use scores, verified against the digest in its
    event, checked on its golden rows, and used from the next bundle on. A bad one is refused, and the one in use stays.

    With --runner DataflowRunner the job is submitted and runs on its own. With DirectRunner it runs on this machine
    until SIGTERM or Ctrl-C, at some 50 messages per second: to try it out, as Beam's runner acknowledges messages
    before they are scored.

    \b
    Example:
      headrace stream pubsub --app births --models gs://my-bucket/model-events
          --subscription projects/my-project/subscriptions/births
          --prediction-topic projects/my-project/topics/weights
          --dead-letters projects/my-project/topics/births-dead --runner DataflowRunner --project my-project ...
    """
    chosen = runner_command.chosen(runner)
    from headrace.components.stream.pubsub.by_http import ByHttp
    from headrace.components.stream.pubsub.config import PubSubConfig
    from headrace.components.stream.pubsub.in_process import InProcessModels
    from headrace.core import storage
    from headrace.core.beam.windows import Windows

    if bool(models) == (endpoint is not None):
        raise UsageError(
            "the model is not named" if not models else "the model is named twice",
            where="stream pubsub",
            expected="--models PATH, or --endpoint-url URL",
        )
    here = storage.is_remote(models) or models.startswith("projects/")
    source: Any
    if endpoint is not None:
        source = ByHttp(endpoint)
    else:
        source = InProcessModels(
            app,
            models if here else str(storage.local_path(models).absolute()),
            look_seconds=look_seconds,
            without_model=without_model,
            rules=rules,
            model_roots=model_roots,
        )
    config = PubSubConfig(
        app=app,
        subscription=subscription,
        predictions=predictions,
        table=table,
        windows=Windows(load_seconds, _GRACE_SECONDS),
        settle_seconds=_GRACE_SECONDS if chosen.local else 0,
        dead_letters=dead_letters,
        source=source,
        alarms=alarms,
        id_attribute=id_attribute,
        duplicates_seconds=duplicates_seconds,
        batch_records=batch_records,
    )
    from headrace.core.beam.stream import check_reachable, check_reads_pubsub

    check_reads_pubsub(chosen)
    check_reachable(chosen, {"--models": models} if models else {})
    _run(config, chosen)


def _run(config: Any, runner: Any) -> None:
    from headrace.components.stream.pubsub.pipeline import build
    from headrace.core.beam.stream import run_stream
    from headrace.core.cloud.pubsub import require_subscription, require_topic

    require_subscription(config.subscription)
    for name, topic in config.topics.items():
        require_topic(topic, name)
    if config.table:
        from headrace.components.stream.pubsub.table import create

        create(config.table)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("headrace.stream").setLevel(logging.INFO)

    def started(result: Any) -> None:
        job = getattr(result, "job_id", None)
        click.echo(f"started: {job() if callable(job) else runner.name}, from {config.subscription}", err=True)

    stop = threading.Event()
    name = f"headrace-stream-{config.app.replace('_', '-').lower()}"
    with stop_on_signals(stop):
        run_stream(lambda pipeline: build(pipeline, config), runner, name, stop, started)
