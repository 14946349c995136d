"""Model events to topics, against brokers that speak the protocols."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from confluent_kafka import Consumer, Producer
from google.cloud import pubsub_v1  # type: ignore[attr-defined]
from google.pubsub_v1.types import PublishRequest, PublishResponse

from headrace.components.announce.destinations import send
from headrace.core.errors import PlatformError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.core.signals import Terminated

EVENT = ModelEvent(app="days", epoch=4, action="promote", version="v1", model="/models/v1", digest="a" * 64)


@pytest.fixture
def brokers() -> Iterator[str]:
    """HOST:PORT of the broker in librdkafka, which listens on a socket."""
    cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=300).brokers.values())
    cluster.flush(1)


def test_kafka(brokers: str) -> None:
    for _ in range(2):
        send(EVENT, f"kafka://{brokers}/models")
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["models"])
    try:
        messages = consumer.consume(2, timeout=600)
    finally:
        consumer.close()
    assert [(m.key(), m.value(), m.error()) for m in messages] == [(b"days", EVENT.encode(), None)] * 2


def test_kafka_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.components.announce.destinations._SECONDS", 1.0)
    with pytest.raises(PlatformError, match="the model event was not sent"):
        send(EVENT, "kafka://127.0.0.1:9/models")


@dataclass
class PubSub(grpc.GenericRpcHandler):
    """The method Publish of Pub/Sub's service; a topic "absent" does not exist, and "denied" allows nobody."""

    published: list[PublishRequest] = field(default_factory=list)

    def service(self, details: Any) -> Any:
        assert details.method == "/google.pubsub.v1.Publisher/Publish"

        def publish(request: PublishRequest, context: grpc.ServicerContext) -> PublishResponse:
            topic = request.topic.rpartition("/")[2]
            if topic == "absent":
                context.abort(grpc.StatusCode.NOT_FOUND, "no topic")
            if topic == "denied":
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
            self.published.append(request)
            return PublishResponse(message_ids=["1"])

        return grpc.unary_unary_rpc_method_handler(publish, PublishRequest.deserialize, PublishResponse.serialize)


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSub]:
    handler = PubSub()
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield handler
    server.stop(None).wait()


def test_pubsub(pubsub: PubSub) -> None:
    send(EVENT, "pubsub://project-1/models")
    (request,) = pubsub.published
    assert request.topic == "projects/project-1/topics/models"
    (message,) = request.messages
    assert (message.data, dict(message.attributes)) == (EVENT.encode(), {"app": "days", "epoch": "4"})


@pytest.mark.parametrize(
    ("topic", "what", "fix"),
    [
        ("absent", "the topic does not exist", "gcloud pubsub topics create absent --project=project-1"),
        (
            "denied",
            "access is denied",
            "gcloud projects add-iam-policy-binding project-1 --member=PRINCIPAL --role=roles/pubsub.publisher",
        ),
    ],
)
def test_pubsub_that_refuses(pubsub: PubSub, topic: str, what: str, fix: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        send(EVENT, f"pubsub://project-1/{topic}")
    assert fix in str(caught.value.fix)
    assert pubsub.published == []


def test_a_signal_while_pubsub_is_written_ends_the_process(pubsub: PubSub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not a failure of the service, which a step reports and goes on."""

    def signalled(*_: object, **__: object) -> None:
        raise Terminated.by(signal.SIGTERM)

    monkeypatch.setattr(pubsub_v1.PublisherClient, "publish", signalled)
    with pytest.raises(Terminated):
        send(EVENT, "pubsub://project-1/models")
    assert pubsub.published == []
