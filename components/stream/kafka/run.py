"""Scorer process on Kafka: creates the clients, and scores until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import threading

from headrace.components.stream.kafka import clients
from headrace.components.stream.kafka.by_endpoint import ByEndpoint
from headrace.components.stream.kafka.config import KafkaConfig
from headrace.components.stream.kafka.in_process import InProcessScoring
from headrace.components.stream.kafka.label_config import LabelConfig
from headrace.components.stream.kafka.model_topic import ModelTopic
from headrace.components.stream.kafka.outbox import Outbox
from headrace.components.stream.kafka.reader import RecordReader
from headrace.components.stream.kafka.scorer import KafkaScorer
from headrace.components.stream.kafka.scoring import Scoring
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.fold import StreamModels
from headrace.components.stream.models.load import load_model
from headrace.components.stream.models.outcome import member_name
from headrace.components.stream.monitor_port import monitor_port
from headrace.components.stream.records.by_http import HttpScorer
from headrace.components.stream.records.codec import codec_of
from headrace.core.model_events.event import ModelEvent
from headrace.core.problem import Problem
from headrace.core.progress import Progress, silent
from headrace.core.scoring.online.beside import freeze_imports
from headrace.core.scoring.online.model import OnlineModel
from headrace.core.signals import stop_on_signals


def score_stream(config: KafkaConfig, *, host: str, port: int, report: Progress = silent) -> None:
    """Scores records until SIGTERM or SIGINT, then finishes the batch and leaves the group.

    Args:
        config: options of the scorer.
        host: address of the port for health and metrics.
        port: port for health and metrics; 0 for any free one.
        report: receives progress.

    Raises:
        UsageError: a topic does not exist, access is denied, a token is missing, or the port is in use.
        PlatformError: no broker responds at the start, the model failed, or the last batch could not be delivered.
    """
    stop = threading.Event()
    with stop_on_signals(stop):
        _score(config, host, port, report, stop)


def _score(config: KafkaConfig, host: str, port: int, report: Progress, stop: threading.Event) -> None:
    metrics = StreamMetrics(lambda: scoring.in_use)
    scoring = _scoring(config, metrics, report)
    outbox = Outbox(lambda: clients.producer(config), lambda by: metrics.count("retries_total", by, what="delivery"))
    scorer = KafkaScorer(
        config,
        scoring,
        metrics,
        RecordReader(
            lambda on_commit: clients.record_consumer(config, on_commit),
            [route.records for route in config.routes],
            config.batch_records,
            config.batch_bytes,
        ),
        outbox,
        member=member_name(),
        stop=stop,
    )
    with monitor_port(host, port, metrics) as url:
        report(f"health and metrics at {url}")
        try:
            scorer.run(lambda: report(f"{config.group}: reading records", lasting=True))
        finally:
            scorer.close()
    report("the batch is finished, and the group is left")


def _scoring(config: KafkaConfig, metrics: StreamMetrics, report: Progress) -> Scoring:
    """The scoring of batches. Raises the errors of `score_stream`."""
    codec = codec_of(config.format)
    consumer = clients.whole_consumer(config, f"{config.group}-models")
    clients.check_topics(consumer, config)
    if config.endpoint is not None:
        clients.close_consumer(consumer)
        return ByEndpoint(config.routes[0].app, HttpScorer(config.endpoint), metrics)
    report("loading TensorFlow")
    # TensorFlow reads this at import; it suppresses notes on CPU instructions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    freeze_imports()

    def load(event: ModelEvent, present: OnlineModel | None) -> OnlineModel:
        return load_model(event, present, rules=config.rules, roots=config.model_roots)

    models = StreamModels((route.app for route in config.routes), load)
    return InProcessScoring(codec, models, ModelTopic(consumer, config.model_topic, models.read), metrics)


def join_labels(problem: Problem, config: LabelConfig, *, evaluation: str = "", report: Progress = silent) -> None:
    """Joins labels with predictions until SIGTERM or SIGINT, and writes metric events and alarms.

    Args:
        problem: Problem of the application.
        config: options of the join.
        evaluation: URI of the model's Evaluation, whose metric is compared; "" uses only the bounds of the gate.
        report: receives progress.

    Raises:
        UsageError: a topic does not exist, or access is denied.
        DataError: the Evaluation does not exist, or lacks the metric.
        PlatformError: no broker responds at the start, or the last events could not be delivered.
    """
    from headrace.components.monitor.judge import metric_of
    from headrace.components.monitor.performance import evaluated_metric
    from headrace.components.stream.kafka.labels import LabelJoiner
    from headrace.components.stream.labels.report import MetricReport

    made = MetricReport(problem, config.app, evaluated_metric(evaluation, metric_of(problem)))
    consumer = clients.whole_consumer(config, f"{config.app}-labels")
    clients.check_topics(consumer, config)
    stop = threading.Event()
    outbox = Outbox(lambda: clients.producer(config))
    joiner = LabelJoiner(problem, config, consumer, outbox, made, member=member_name(), stop=stop)
    with stop_on_signals(stop):
        report(f"{config.app}: joining labels", lasting=True)
        try:
            joiner.run()
        finally:
            joiner.close()
