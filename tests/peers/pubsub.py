"""Pub/Sub on this machine: the official emulator of the Google Cloud CLI, which runs on Java."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local.control import free_port

PROJECT = "demo-project"
_NUMBERS = itertools.count(1)
_SECONDS_TO_START = 120


@pytest.fixture(scope="session")
def pubsub_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a running emulator."""
    reason = absence()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("pubsub")
    host = f"127.0.0.1:{free_port()}"
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("gcloud", "beta", "emulators", "pubsub", "start", "--quiet"),
                *(f"--project={PROJECT}", f"--host-port={host}", f"--data-dir={folder}"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "CLOUDSDK_CONFIG": str(folder / "gcloud"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
            start_new_session=True,
        )
    try:
        _wait(process, log)
        yield host
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Topic:
    """A topic with one subscription.

    Attributes:
        name, subscription: as projects/PROJECT/....
    """

    name: str
    subscription: str
    _publisher: Any = field(repr=False)
    _subscriber: Any = field(repr=False)

    def publish(self, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        """Publishes a message, and returns its id."""
        found: str = self._publisher.publish(self.name, data, **(attributes or {})).result(60)
        return found

    def pull(self, count: int, seconds: float = 60.0) -> list[Any]:
        """So many messages of the subscription, in the order of their delivery; fewer after a time."""
        from google.api_core.exceptions import DeadlineExceeded

        found: list[Any] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            try:
                answer = self._subscriber.pull(
                    subscription=self.subscription, max_messages=count, timeout=1, retry=None
                )
            except DeadlineExceeded:
                continue
            if answer.received_messages:
                self._subscriber.acknowledge(
                    subscription=self.subscription, ack_ids=[each.ack_id for each in answer.received_messages]
                )
                found += [each.message for each in answer.received_messages]
        return found

    def seek(self, seconds: float) -> None:
        """Delivers all messages since a time again: so many seconds from now."""
        to = datetime.now(UTC) + timedelta(seconds=seconds)
        self._subscriber.seek(request={"subscription": self.subscription, "time": to})


@pytest.fixture
def make_topic(pubsub_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Topic]]:
    """Makes topics; the environment variable by which clients find the emulator is set."""
    from google.cloud import pubsub_v1

    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_server)
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()

    def make() -> Topic:
        number = next(_NUMBERS)
        topic = f"projects/{PROJECT}/topics/topic-{number}"
        subscription = f"projects/{PROJECT}/subscriptions/subscription-{number}"
        publisher.create_topic(name=topic)
        subscriber.create_subscription(request={"name": subscription, "topic": topic, "retain_acked_messages": True})
        return Topic(topic, subscription, publisher, subscriber)

    yield make
    publisher.stop()
    publisher.transport.close()
    subscriber.close()


def absence() -> str:
    """Why the emulator cannot be started here, and how to get it; "" if it can."""
    fix = "install the Google Cloud CLI, `gcloud components install beta pubsub-emulator`, and a Java 11 or later"
    for command in ("gcloud", "java"):
        if shutil.which(command) is None:
            return f"no {command} on this machine for the emulator of Pub/Sub: {fix}"
    found = subprocess.run(
        ["gcloud", "info", "--format=value(installation.sdk_root)"], capture_output=True, text=True, timeout=60
    )
    root = Path(found.stdout.strip() or "/nonexistent")
    if not (root / "platform" / "pubsub-emulator").is_dir():
        return f"the emulator of Pub/Sub is not installed: {fix}"
    return ""


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while b"Server started" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the emulator of Pub/Sub did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
