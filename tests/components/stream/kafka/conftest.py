"""A stage on the module's broker, and the event of a first Model."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest
from peers.kafka import Broker
from support.kafka_stage import Stage, stage_on
from support.stream_models import StreamModels

from headrace.core.model_events.event import ModelEvent


@pytest.fixture
def stage(kafka: Broker, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Topics of this test, and members that are ended with it."""
    name = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "").replace("_", "-")
    name = f"{name[:50]}-{zlib.crc32(name.encode()):x}"
    with stage_on(kafka, name) as made:
        yield made


@pytest.fixture(scope="module")
def first(stream_models: StreamModels) -> ModelEvent:
    """The event of version v1."""
    return stream_models.event("v1", 1)
