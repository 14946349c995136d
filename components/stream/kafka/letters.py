"""Messages of a batch: predictions, and dead letters with the record and the reason why it has no prediction."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Message

from headrace.components.stream.kafka.outbox import Outgoing
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.score import Rejection

PREFIX = "headrace-"


def prediction(topic: str, message: Message, value: bytes) -> Outgoing:
    """The prediction of a record, with the record's key and headers."""
    return Outgoing(topic, message.key(), value, message.headers() or ())


def dead_letter(
    topic: str,
    message: Message,
    rejected: Rejection,
    app: str,
    used: UsedModel | None,
    *,
    whole: bool = True,
    keyed: bool = True,
) -> Outgoing:
    """The dead letter of a record: its key, value and headers, with the reason and the position in further headers.

    Args:
        topic: topic of dead letters.
        message: the record.
        rejected: the reason why it has no prediction.
        app: name of the application.
        used: the model in use; None if there was none.
        whole: whether to include the record's value; False if it is too large.
        keyed: whether to include the record's key and headers.
    """
    value = message.value()
    facts: list[tuple[str, str]] = [
        ("reason", rejected.reason),
        ("message", rejected.message),
        ("app", app),
        ("topic", message.topic() or ""),
        ("partition", str(message.partition())),
        ("offset", str(message.offset())),
    ]
    if used is not None and used.version:
        facts.append(("model-version", used.version))
    if used is not None and used.epoch is not None:
        facts.append(("model-epoch", str(used.epoch)))
    if rejected.rows:
        facts.append(("rows", ",".join(map(str, rejected.rows))))
    if not whole and value is not None:
        facts.append(("value-bytes", str(len(value))))
    added = [(PREFIX + name, text.encode("utf-8", "backslashreplace")) for name, text in facts]
    own = _headers(message) if keyed else ()
    return Outgoing(topic, message.key() if keyed else None, value if whole else None, [*own, *added])


def _headers(message: Message) -> Sequence[tuple[str, bytes]]:
    # Without the headers of an earlier rejection, if the record was a dead letter that is scored again.
    return [(name, value) for name, value in message.headers() or () if not name.startswith(PREFIX)]
