"""Destinations of model events: a folder of files, a Pub/Sub topic, a Kafka topic, or a webhook.

Delivery is at least once: an event whose delivery is uncertain is sent again with the same bytes. Receivers order
events by epoch, so a repeated event has no effect.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.core.signals import Terminated
from headrace.core.storage.compare_and_set import create_if_absent, read_with_token
from headrace.core.webhook import check_webhook, post

_PUBSUB = re.compile(r"pubsub://(?P<project>[a-z][a-z0-9:.-]{4,})/(?P<topic>[A-Za-z][A-Za-z0-9._~%+-]{2,254})\Z")
_KAFKA = re.compile(r"kafka://(?P<brokers>[^/\s,]+(?:,[^/\s,]+)*)/(?P<topic>[A-Za-z0-9._-]{1,249})\Z")
_SECONDS = 15.0


def check_destination(destination: str) -> None:
    """Checks the form of a destination; sends nothing.

    Raises:
        UsageError: the destination is not a folder, gs://BUCKET/FOLDER, pubsub://PROJECT/TOPIC,
            kafka://BROKER:PORT/TOPIC or https://...
    """
    scheme = destination.partition("://")[0] if "://" in destination else ""
    if scheme in ("http", "https"):
        check_webhook(destination, option="--announce")
        return
    valid = {
        "pubsub": _PUBSUB.match(destination) is not None,
        "kafka": _KAFKA.match(destination) is not None,
        "file": True,
        "gs": True,
        "": bool(destination),
    }
    if not valid.get(scheme, storage.is_remote(destination)):
        raise UsageError(
            "the destination of model events is not valid",
            where="--announce",
            expected="a folder, gs://BUCKET/FOLDER, pubsub://PROJECT/TOPIC, kafka://BROKER:PORT/TOPIC or https://...",
            received=destination,
        )


def name_of(destination: str) -> str:
    """The name of a destination for errors and logs. Of a webhook, whose URL is a secret, it has only the host."""
    scheme = destination.partition("://")[0]
    if "://" in destination and scheme in ("http", "https"):
        return f"{scheme}://{urlsplit(destination).hostname}/..."
    return destination


def send(event: ModelEvent, destination: str) -> None:
    """Sends an event; sending it again is safe.

    Args:
        event: event of the registry's last change of champion.
        destination: a destination, as of `check_destination`.

    Raises:
        UsageError: the destination is not valid, access is denied, or the client library is not installed.
        DataError: the folder has a different event of the same epoch.
        PlatformError: the destination did not accept the event within about 15 s, or whether it did is unknown.
    """
    check_destination(destination)
    scheme = destination.partition("://")[0] if "://" in destination else ""
    if scheme in ("http", "https"):
        post(destination, event.encode())
    elif scheme == "pubsub":
        _publish(event, destination)
    elif scheme == "kafka":
        _produce(event, destination)
    else:
        _write(event, destination)


def _write(event: ModelEvent, folder: str) -> None:
    uri = storage.join(folder, f"{event.app}-{event.epoch:010d}.json")
    if create_if_absent(uri, event.encode()):
        return
    found = read_with_token(uri)
    if found is None or found.content == event.encode():
        return
    there = ModelEvent.decode(found.content, uri)
    # An earlier release may have described the same change with other texts.
    if (there.version, there.digest, there.action) != (event.version, event.digest, event.action):
        raise DataError(
            "the folder has another event of this epoch",
            where=uri,
            expected=f"{event.action} of version {event.version}, digest {event.digest[:16]}",
            received=f"{there.action} of version {there.version}, digest {there.digest[:16]}",
            fix="Give each registry and application a folder of its own",
        )


def _publish(event: ModelEvent, destination: str) -> None:
    try:
        from google.api_core import exceptions as api
        from google.cloud import pubsub_v1  # type: ignore[attr-defined]

        from headrace.core.cloud.errors import translate_errors
    except ImportError as error:
        raise _not_installed(destination, "google-cloud-pubsub", "triggers") from error
    found = _PUBSUB.match(destination)
    assert found is not None
    try:
        # The message is sent at once, and leaving the context ends the client's threads.
        with translate_errors("Pub/Sub", destination, "roles/pubsub.publisher"), pubsub_v1.PublisherClient() as client:
            topic = client.topic_path(found["project"], found["topic"])
            attributes = {"app": event.app, "epoch": str(event.epoch)}
            client.publish(topic, event.encode(), timeout=_SECONDS, **attributes).result(timeout=_SECONDS)
    except api.NotFound as error:
        raise UsageError(
            "the topic does not exist",
            where=destination,
            fix=f"Create it: gcloud pubsub topics create {found['topic']} --project={found['project']}",
        ) from error
    except Terminated:
        # It is a PlatformError as well, but not a failure of the service.
        raise
    except PlatformError as error:
        raise _unsent(destination, error.received or error.what) from error
    except TimeoutError as error:
        raise _unsent(destination, "no response in time") from error


def _produce(event: ModelEvent, destination: str) -> None:
    try:
        from confluent_kafka import KafkaException, Producer
    except ImportError as error:
        raise _not_installed(destination, "confluent-kafka", "kafka") from error
    found = _KAFKA.match(destination)
    assert found is not None
    failed: list[str] = []
    settings = {
        "bootstrap.servers": found["brokers"],
        "acks": "all",
        "message.timeout.ms": int(_SECONDS * 1000),
        # A broker that does not respond is reported once, by `on_delivery`.
        "log_level": 0,
    }
    try:
        producer = Producer(settings)
        producer.produce(
            found["topic"],
            value=event.encode(),
            # One key per application, so that its events are in one partition, in order.
            key=event.app.encode(),
            on_delivery=lambda error, _: failed.append("" if error is None else error.str()),
        )
        left = producer.flush(_SECONDS + 1)
    except (KafkaException, BufferError) as error:
        raise _unsent(destination, str(error)) from error
    if left or failed != [""]:
        raise _unsent(destination, ", ".join(filter(None, failed)) or "no response of the brokers in time")


def _unsent(destination: str, received: str) -> PlatformError:
    return PlatformError(
        "the model event was not sent", where=destination, received=received, fix="Announce it again, which is safe"
    )


def _not_installed(destination: str, package: str, extra: str) -> UsageError:
    return UsageError(
        f"{package} is not installed", where=destination, fix=f"Install it: pip install 'headrace[{extra}]'"
    )
