"""Clients of Kafka: the end of a consumer."""

from __future__ import annotations

import logging
import threading
from typing import Any, cast

import pytest

from headrace.components.stream.kafka.clients import close_consumer


class Closing:
    """A consumer whose `close` waits for the broker."""

    def __init__(self, *, reachable: bool) -> None:
        self.broker = threading.Event()
        self.closed = threading.Event()
        if reachable:
            self.broker.set()

    def close(self) -> None:
        self.broker.wait()
        self.closed.set()


def test_a_consumer_that_closes_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    consumer = Closing(reachable=True)
    assert close_consumer(cast(Any, consumer))
    assert consumer.closed.is_set()
    assert not caplog.records


def test_a_consumer_whose_broker_is_unreachable_is_left(caplog: pytest.LogCaptureFixture) -> None:
    consumer = Closing(reachable=False)
    with caplog.at_level(logging.WARNING):
        assert not close_consumer(cast(Any, consumer), within_s=0.01)
    assert [record.getMessage() for record in caplog.records] == [
        "the broker did not respond within 0.01 s: the group removes this member later"
    ]
    closing = next(thread for thread in threading.enumerate() if thread.name == "close-consumer")
    assert closing.daemon, "the process would wait for the broker"
    consumer.broker.set()
    assert consumer.closed.wait(60)
