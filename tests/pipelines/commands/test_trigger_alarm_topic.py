"""`headrace trigger alarm-topic` from its arguments to its end by SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from peers.kafka import Broker
from support.command import headrace
from support.triggered import CountedRuns, settings_below

from headrace.components.monitor.alarms import Alarm
from headrace.components.stream.labels.alarm import MetricAlarm

WINDOW = ("2026-11-29T10:00:00Z", "2026-11-29T10:05:00Z")


def alarm(id_: str, app: str) -> bytes:
    return MetricAlarm(app, "v1", Alarm(id_, "metric", "rmse", 5.0, 2.0, WINDOW, WINDOW[1])).encode("joiner")


def test_an_alarm_of_the_training_starts_a_run(kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, settings = CountedRuns(), settings_below(tmp_path / "root")
    monkeypatch.setattr("headrace.pipelines.dynamic.runs.runs_of", lambda _: runs)
    kafka.topics(alarms=1)
    kafka.send("alarms", alarm("other", "taxi"), alarm("mine", settings.name))

    def act() -> None:
        deadline = time.monotonic() + 600
        while not runs.started and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    actor = threading.Thread(target=act)
    actor.start()
    options = ("--settings", settings.root, "--bootstrap", kafka.bootstrap, "--alarm-topic", "alarms")
    done = headrace("trigger", "alarm-topic", *options, "--property", "session.timeout.ms=4000")
    actor.join()
    assert done.returncode == 0, done.stderr
    ((arrival,),) = runs.started.values()
    assert (arrival.reason, arrival.event) == ("alarm", "mine")
    assert "alarm mine of version v1" in done.stderr
    assert "a training is requested" in done.stderr


def test_a_topic_that_does_not_exist_and_options_that_are_wrong(kafka: Broker, tmp_path: Path) -> None:
    settings = settings_below(tmp_path / "root")
    options = ("--settings", settings.root, "--bootstrap", kafka.bootstrap, "--alarm-topic")
    done = headrace("trigger", "alarm-topic", *options, "nowhere")
    assert (done.returncode, "topics do not exist" in done.stderr) == (2, True)
    done = headrace("trigger", "alarm-topic", *options, "alarms", "--property", "group.id=x")
    assert (done.returncode, "the property cannot be set" in done.stderr) == (2, True)
    done = headrace("trigger", "alarm-topic", "--settings", tmp_path / "nothing", *options[2:], "alarms")
    assert (done.returncode, "the root has no dynamic training" in done.stderr) == (2, True)
