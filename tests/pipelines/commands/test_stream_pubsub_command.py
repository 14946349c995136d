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
from support.stream_models import APP, StreamModels
from support.tiny_model import INSTANCES, expected_weight

from headrace.components.announce.destinations import send

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
        ({"prediction-topic": ""}, "a destination of predictions is missing"),
        ({"app": "1"}, "the name of the application is not valid"),
        ({"dead-letters": f"{TOPIC}/weights"}, "need topics of their own"),
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


def test_records_are_scored_with_the_newest_model_until_the_job_is_stopped(
    tmp_path: Path, make_topic: Callable[[], Topic], make_model: Any
) -> None:
    models = StreamModels(tmp_path / "models", make_model)
    events = str(tmp_path / "events")
    send(models.event("one", 1), events)
    two = models.event("two", 2, bias=2.0)
    records, predictions, dead, alarms = (make_topic() for _ in range(4))
    row = {**INSTANCES[0], "key": "k"}
    done = threading.Event()
    found: list[Any] = []
    problems: list[BaseException] = []

    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    publisher = pubsub_v1.PublisherClient(publisher_options=options)

    def publish(text: bytes = json.dumps(row).encode(), **attributes: str) -> None:
        publisher.publish(records.name, text, ordering_key="north", **attributes).result(60)

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 600
        while not condition():
            assert time.monotonic() < deadline, found
            assert not done.is_set(), "the job has ended"
            publish(number=str(len(found)))
            for message in predictions.pull(100, 0.5):
                assert message.ordering_key == "north"
                found.append(json.loads(message.data))

    def drive() -> None:
        try:
            publish(b"no JSON", source="station")
            until(lambda: any(each["model_version"] == "one" for each in found))
            send(two, events)
            until(lambda: any(each["model_version"] == "two" for each in found))
        except BaseException as error:
            problems.append(error)
        os.kill(os.getpid(), signal.SIGTERM)
        while not done.wait(0.5):
            publish()

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
    versions = [each["model_version"] for each in found]
    assert versions == sorted(versions)
    for each in found:
        bias = {"one": 1.0, "two": 2.0}[each["model_version"]]
        assert each["prediction"] == pytest.approx(expected_weight(row, bias))
    (letter,) = dead.pull(1)
    assert letter.data == b"no JSON"
    assert letter.attributes["headrace-reason"] == "malformed_row"
    assert letter.attributes["source"] == "station"
