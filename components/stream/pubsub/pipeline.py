"""Streaming pipeline of the Pub/Sub scorer, on any Beam runner that reads Pub/Sub."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub, WriteToPubSub

from headrace.components.stream.pubsub import stages, table
from headrace.components.stream.pubsub.config import PubSubConfig
from headrace.core.beam.collect import REPEATED, Collect, Unique


def build(pipeline: beam.Pipeline, config: PubSubConfig) -> None:
    """Adds reading, scoring and writing to a pipeline."""
    records = pipeline | "read" >> ReadFromPubSub(subscription=config.subscription, with_attributes=True)
    scored = score(records, config)
    if config.predictions:
        scored.main | "predictions" >> _write(config.predictions)
    if config.table:
        load(scored.main, config)
    scored[stages.DEAD] | "dead letters" >> _write(config.dead_letters)
    if config.alarms:
        scored[stages.ALARMS] | "alarms" >> WriteToPubSub(config.alarms, with_attributes=True)


def score(records: Any, config: PubSubConfig) -> Any:
    """Scores records.

    Args:
        records: PCollection of PubsubMessage.
        config: options.

    Returns:
        PCollections of PubsubMessage: predictions as `main`, dead letters by the tag DEAD, and alarms by ALARMS.
    """
    if config.duplicates_seconds:
        named = records | "by id" >> beam.Map(_by_id, config.id_attribute).with_output_types(tuple[str, Any])
        unique = named | "unique" >> beam.ParDo(Unique(config.duplicates_seconds)).with_outputs(REPEATED, main="main")
        unique[REPEATED] | "repeated" >> beam.ParDo(stages.CountRepeated())
        records = unique.main
        records.element_type = PubsubMessage
    scored = records | "score" >> beam.ParDo(stages.Score(config)).with_outputs(stages.DEAD, stages.ALARMS, main="main")
    for tag in ("main", stages.DEAD, stages.ALARMS):
        scored[tag].element_type = PubsubMessage
    return scored


def load(predictions: Any, config: PubSubConfig) -> None:
    """Loads predictions into the table, by one job per window.

    Args:
        predictions: PCollection of PubsubMessage, whose timestamps are the publication times of their records.
        config: options of the scorer.
    """
    collect = Collect(config.windows, config.settle_seconds)
    (
        predictions
        | "by window" >> beam.ParDo(table.ByWindow(config.windows)).with_output_types(tuple[str, bytes])
        | "collect" >> beam.ParDo(collect).with_output_types(tuple[str, list[bytes]])
        | "load" >> beam.ParDo(table.LoadPredictions(config.table, config.app))
    )


def _write(topic: str) -> WriteToPubSub:
    # Without the last option, Beam's client rejects messages with an ordering key.
    return WriteToPubSub(topic, with_attributes=True, publish_with_ordering_key=True)


def _by_id(message: PubsubMessage, attribute: str) -> tuple[str, Any]:
    return stages.identity_of(message, attribute), message
