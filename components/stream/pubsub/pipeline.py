"""Streaming pipeline of the Pub/Sub scorer, on any runner of Beam that reads Pub/Sub."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub, WriteToPubSub

from headrace.components.stream.pubsub import stages
from headrace.components.stream.pubsub.config import PubSubConfig
from headrace.core.beam.collect import REPEATED, Unique


def build(pipeline: beam.Pipeline, config: PubSubConfig) -> None:
    """Adds reading, scoring and writing to a pipeline."""
    records = pipeline | "read" >> ReadFromPubSub(subscription=config.subscription, with_attributes=True)
    scored = score(records, config)
    scored.main | "predictions" >> WriteToPubSub(config.predictions, with_attributes=True)
    scored[stages.DEAD] | "dead letters" >> WriteToPubSub(config.dead_letters, with_attributes=True)
    if config.alarms:
        scored[stages.ALARMS] | "alarms" >> WriteToPubSub(config.alarms, with_attributes=True)


def score(records: Any, config: PubSubConfig) -> Any:
    """Scores records.

    Args:
        records: PCollection of PubsubMessage.
        config: options.

    Returns:
        PCollections of PubsubMessage: predictions as `main`, dead letters by DEAD and alarms by ALARMS.
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


def _by_id(message: PubsubMessage, attribute: str) -> tuple[str, Any]:
    return stages.identity_of(message, attribute), message
