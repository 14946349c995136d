"""The process of a scorer: a termination signal ends it well at each stage of its start."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from peers.kafka import broker_in_memory, executable
from support.kafka_stage import Stage, encoded, stage_on
from support.tiny_model import INSTANCES

from headrace.components.stream.kafka import run as running
from headrace.components.stream.kafka.model_topic import ModelTopic
from headrace.components.stream.kafka.run import score_stream
from headrace.core.errors import PlatformError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.core.scoring.online.model import OnlineModel


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def collectable() -> Iterator[None]:
    """What a scorer freezes is collectable again for other tests of this process."""
    yield
    gc.unfreeze()


def ended(stage: Stage) -> list[str]:
    """Runs a scorer until it ends by itself; returns what it reported."""
    said: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    score_stream(stage.config(), host="127.0.0.1", port=0, report=lambda text, **_: said.append(text))
    assert signal.getsignal(signal.SIGTERM) is before
    return said


def test_a_signal_while_tensorflow_is_imported(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "freeze_imports", terminate)
    said = ended(stage)
    assert said[-1] == "the batch is finished, and the group is left"
    assert not any("reading records" in text for text in said)


def test_a_signal_while_the_broker_is_waited_for(first: ModelEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    executable()
    with broker_in_memory(proxy=True) as broker, stage_on(broker, "waiting") as stage:
        stage.announce(first)
        start = ModelTopic.start

        class Cut:
            """A consumer whose broker is gone before it reads anything; the signal comes while it waits for it."""

            def __init__(self, consumer: Any) -> None:
                self._consumer = consumer
                self._polls = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(self._consumer, name)

            def assign(self, partitions: Any) -> None:
                broker.cut()
                self._consumer.assign(partitions)

            def poll(self, seconds: float) -> Any:
                self._polls += 1
                if self._polls == 5:
                    terminate()
                return self._consumer.poll(seconds)

        def cut(topic: ModelTopic) -> None:
            topic._consumer = Cut(topic._consumer)
            start(topic)

        monkeypatch.setattr(ModelTopic, "start", cut)
        assert not any("reading records" in text for text in ended(stage))


def test_a_signal_while_the_first_model_loads(stage: Stage, first: ModelEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    released, loaded = threading.Event(), threading.Event()

    def load(*_: object, **__: object) -> OnlineModel:
        terminate()
        released.wait()
        loaded.set()
        raise PlatformError("nobody needs it")

    monkeypatch.setattr(running, "load_model", load)
    stage.announce(first)
    # It does not join the group any more.
    assert not any("reading records" in text for text in ended(stage))
    # And does not wait for the model.
    assert not loaded.is_set()
    released.set()
    assert loaded.wait(600)


def test_a_signal_while_records_are_scored(stage: Stage, first: ModelEvent) -> None:
    stage.announce(first)
    stage.send(*(encoded({**INSTANCES[0], "key": f"{at}"}) for at in range(2000)))

    def once_some_are() -> None:
        stage.predictions(1)
        terminate()

    thread = threading.Thread(target=once_some_are)
    thread.start()
    ended(stage)
    thread.join()
    # What the process delivered is committed: the next one scores the others, and nothing twice.
    stage.member()
    keys = stage.keys(2000)
    assert sorted(keys, key=int) == [f"{at}" for at in range(2000)]


def test_a_topic_that_does_not_exist_is_reported_before_anything_is_loaded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise AssertionError("TensorFlow is imported")

    monkeypatch.setattr(running, "freeze_imports", fail)
    config = stage.config(dead_letters="no-such-topic")
    with pytest.raises(UsageError, match="topics do not exist") as error:
        score_stream(config, host="127.0.0.1", port=0)
    assert error.value.received == "no no-such-topic"
    assert error.value.exit_status == 2
