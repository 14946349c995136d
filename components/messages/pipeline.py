"""Streaming pipeline of the messages trigger, on any runner of Beam."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import ReadFromPubSub

from headrace.components.messages import stages
from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.decode import Row
from headrace.components.messages.drift import SpanDrift
from headrace.components.messages.request import RequestRule, SpanTraining
from headrace.core.beam.collect import REPEATED, Collect, Unique


def read_messages(pipeline: beam.Pipeline, config: MessagesConfig) -> Any:
    """The messages of the subscription, with their attributes."""
    return pipeline | "read" >> ReadFromPubSub(subscription=config.subscription, with_attributes=True)


def aggregate(
    messages: Any, config: MessagesConfig, rule: RequestRule, training: SpanTraining, drift: SpanDrift | None = None
) -> None:
    """Adds the stages to a pipeline.

    Args:
        messages: PCollection of PubsubMessage.
        config: options of the trigger.
        rule: rule by which training is requested.
        training: the dynamic training of the spans.
        drift: compares each span with a reference; None compares nothing.
    """
    decoded = messages | "decode" >> _split(stages.Decode(config))
    dead = [decoded[stages.DEAD]]
    rows = decoded.main
    if config.id_attribute:
        named = rows | "by id" >> beam.Map(_by_id).with_output_types(tuple[str, bytes])
        seconds = config.duplicates_seconds
        unique = named | "unique" >> beam.ParDo(Unique(seconds)).with_outputs(REPEATED, main="main")
        dead.append(unique[REPEATED] | "repeated" >> beam.ParDo(stages.RepeatedToDeadLetter(seconds)))
        rows = unique.main
    collected = (
        rows | "by window" >> beam.Map(_by_span).with_output_types(tuple[str, bytes]) | "collect" >> _collect(config)
    )
    written = collected | "write" >> beam.ParDo(stages.WriteSpan(config)).with_outputs(stages.DEAD, main="main")
    dead.append(written[stages.DEAD])
    (
        written.main
        | "load" >> beam.ParDo(stages.LoadSpan(config))
        # One key, so that requests are made one after another.
        | "together" >> beam.Map(_together).with_output_types(tuple[str, Any])
        | "request training" >> beam.ParDo(stages.RequestTraining(config, rule, training, drift))
    )
    (
        dead
        | "dead letters" >> beam.Flatten()
        | "by publication" >> beam.Map(_by_publication, config).with_output_types(tuple[str, bytes])
        | "collect dead letters" >> _collect(config)
        | "write dead letters" >> beam.ParDo(stages.WriteDeadLetters(config))
    )


def _split(function: beam.DoFn) -> Any:
    return beam.ParDo(function).with_outputs(stages.DEAD, main="main")


def _collect(config: MessagesConfig) -> Any:
    collect = Collect(config.windows, config.settle_seconds)
    return beam.ParDo(collect).with_output_types(tuple[str, list[bytes]])


def _by_id(row: bytes) -> tuple[str, bytes]:
    return Row.decode(row).id, row


def _by_span(row: bytes) -> tuple[str, bytes]:
    return Row.decode(row).span, row


def _together(element: tuple[str, int]) -> tuple[str, Any]:
    return "", element


def _by_publication(letter: bytes, config: MessagesConfig) -> tuple[str, bytes]:
    published = datetime.fromisoformat(json.loads(letter)["published"])
    return config.windows.span_of(published), letter
