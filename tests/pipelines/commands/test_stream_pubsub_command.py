"""`headrace stream pubsub`: its options, and a job on the emulator that changes its model and is stopped."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1
from peers.pubsub import Topic
from support.command import headrace
from support.stream_models import APP, StreamModels, rollback
from support.tiny_model import INSTANCES

from headrace.components.announce.destinations import send
from headrace.components.stream.models.load import LoadedModel, load_model
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import RecordResult, score_records
from headrace.core.model_events.event import ModelEvent

TOPIC = "projects/demo-project/topics"


def _given(tmp_path: Path, **more: str) -> list[str]:
    values = {
        "app": APP,
        "models": str(tmp_path / "events"),
        "subscription": "projects/demo-project/subscriptions/births",
        "prediction-topic": f"{TOPIC}/weights",
        "dead-letters": f"{TOPIC}/dead",
        **more,
    }
    return [word for name, value in values.items() for word in (f"--{name}", value)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"models": ""}, "the model is not named"),
        ({"endpoint-url": "http://localhost:1/v1/models/a:predict"}, "the model is named twice"),
        ({"models": "", "endpoint-url": "ftp://a"}, "the URL is not valid"),
        ({"prediction-topic": ""}, "the destination of predictions is missing"),
        ({"app": "1"}, "the name of the application is not valid"),
        ({"dead-letters": f"{TOPIC}/weights"}, "need different topics"),
        ({"duplicates-within": "-1"}, "duplicates_seconds is wrong"),
        ({"runner": "SparkRunner", "job-endpoint": "a:1", "environment-type": "LOOPBACK"}, "does not read Pub/Sub"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, more: dict[str, str], said: str) -> None:
    found = headrace("stream", "pubsub", *_given(tmp_path, **more))
    assert found.returncode == 2
    assert said in " ".join(found.stderr.split())


def test_a_topic_that_does_not_exist_is_named(tmp_path: Path, make_topic: Callable[[], Topic]) -> None:
    topic = make_topic()
    found = headrace("stream", "pubsub", *_given(tmp_path, subscription=topic.subscription))
    assert found.returncode == 2
    assert "the topic does not exist" in " ".join(found.stderr.split())


def test_records_are_scored_with_the_newest_good_model_until_the_job_is_stopped(
    tmp_path: Path, make_topic: Callable[[], Topic], make_model: Any
) -> None:
    models = StreamModels(tmp_path / "models", make_model)
    events = str(tmp_path / "events")
    one, older = models.event("one", 2), models.event("older", 1, bias=4.0)
    two = models.event("two", 4, bias=2.0)
    bad, back = models.wrong("bad", 3), rollback(one, 5)
    send(one, events)
    records, predictions, dead, alarms = (make_topic() for _ in range(4))
    done = threading.Event()
    sent: list[bytes] = []
    found: list[bytes] = []
    alarmed: list[dict[str, Any]] = []
    problems: list[BaseException] = []

    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    publisher = pubsub_v1.PublisherClient(publisher_options=options)

    def publish(text: bytes, **attributes: str) -> None:
        publisher.publish(records.name, text, ordering_key="north", **attributes).result(60)

    def publish_next() -> None:
        number = len(sent)
        sent.append(json.dumps({**INSTANCES[number % len(INSTANCES)], "key": str(number)}).encode())
        publish(sent[-1], number=str(number))

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 600
        while not condition():
            assert time.monotonic() < deadline, found
            assert not done.is_set(), "the job has ended"
            publish_next()
            for message in predictions.pull(100, 0.5):
                assert message.ordering_key == "north"
                assert json.loads(message.data)["key"] == message.attributes["number"]
                found.append(message.data)

    def alarm_came() -> bool:
        alarmed.extend(json.loads(message.data) for message in alarms.pull(10, 0.1))
        return bool(alarmed)

    def used(event: ModelEvent) -> bool:
        return any(json.loads(each)["model_epoch"] == event.epoch for each in found)

    def drive() -> None:
        try:
            publish(b"no JSON", source="station")
            until(lambda: used(one))
            # A repeated event, an older one and a bad one: all are read before the alarm of the last one.
            send(one, events)
            send(older, events)
            send(bad, events)
            until(alarm_came)
            for event in (two, back):
                send(event, events)
                until(lambda event=event: used(event))  # type: ignore[misc]
        except BaseException as error:
            problems.append(error)
        os.kill(os.getpid(), signal.SIGTERM)
        while not done.wait(0.5):
            publish_next()

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        ended = headrace(
            *("stream", "pubsub", "--app", APP, "--models", events, "--look-every", "0"),
            *("--subscription", records.subscription, "--prediction-topic", predictions.name),
            *("--dead-letters", dead.name, "--alarms", alarms.name),
        )
    finally:
        done.set()
        thread.join()
        publisher.stop()
        publisher.transport.close()
    assert not problems, problems
    assert ended.returncode == 0, ended.stderr
    epochs = [json.loads(each)["model_epoch"] for each in found]
    assert epochs == sorted(epochs)
    expected: dict[int, list[RecordResult]] = {}
    for event in (one, two, back):
        loaded = LoadedModel(event, load_model(event))
        expected[event.epoch] = score_records(sent, loaded, JsonCodec())
    # Bit for bit: JSON has the shortest text of each number.
    numbers = [int(json.loads(each)["key"]) for each in found]
    assert found == [expected[epoch][number].prediction for epoch, number in zip(epochs, numbers, strict=True)]
    assert set(epochs) == {one.epoch, two.epoch, back.epoch}
    assert {(each["alarm"], each["version"], each["epoch"], each["in_use"]) for each in alarmed} == {
        ("model_refused", "bad", 3, "one")
    }
    assert "differs from its golden row" in alarmed[0]["reason"]
    (letter,) = dead.pull(1)
    assert letter.data == b"no JSON"
    assert letter.attributes["headrace-reason"] == "malformed_row"
    assert letter.attributes["source"] == "station"
