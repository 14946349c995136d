"""Decoding: which messages are rows, of which window, with which values, and why others are dead letters."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.components.messages.columns import MessageColumn, columns_of
from headrace.components.messages.decode import Decoder, Message, Row
from headrace.core.beam.windows import Windows
from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Numeric, Problem, Splits
from headrace.expressions import timestamp

NOON = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)
COLUMNS = (
    MessageColumn("id", "text"),
    MessageColumn("age", "number", missing=("NA",)),
    MessageColumn("smokes", "text", (("true", "Yes"),)),
)


def _message(data: Any, published: datetime = NOON, **attributes: str) -> Message:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Message(content, attributes, "77", published)


def _decoder(**more: str) -> Decoder:
    return Decoder(COLUMNS, Windows(60, 10), **more)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ({"id": "a", "age": 30, "smokes": "no"}, ["a", 30.0, "no"]),
        ({"id": 12345678901234567890, "age": "30.5", "smokes": None}, ["12345678901234567890", 30.5, None]),
        ({"id": "a", "age": "NA", "smokes": True, "more": [1]}, ["a", None, "Yes"]),
        ({"id": 7.0, "age": True, "smokes": False}, ["7", 1.0, "false"]),
        ({"age": " "}, [None, None, None]),
        (b'{"id": NaN, "age": NaN, "smokes": NaN}', [None, None, None]),
    ],
)
def test_a_json_object_is_a_row_of_the_window_of_its_publication(data: Any, values: list[Any]) -> None:
    found = _decoder().decode(_message(data))
    assert isinstance(found, Row)
    assert (found.span, found.id, list(found.values)) == ("2026-11-29T120000Z-60s", "77", values)
    assert Row.decode(found.encode()).values == values


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is not JSON: "),
        (b"\xff\xfe", "it is not UTF-8: "),
        (b"[1, 2]", "it is an array, not an object: [1, 2]"),
        (b"null", "it is null, not an object: null"),
        (b"[" * 100_000, "it is not JSON: "),
        ({"weight": 3}, "it has none of the fields id, age, smokes"),
        ({"id": {"a": 1}}, 'id is an object, not a text or a number: {"a": 1}'),
        ({"id": "a", "age": "thirty"}, 'age is a string, not a number: "thirty"'),
        ({"id": "a", "age": [30]}, "age is an array, not a number: [30]"),
        (b'{"id": "\\ud800"}', "id holds half of a surrogate pair, which is not a character"),
        (b'{"age": Infinity}', "age is a number, not a number: Infinity"),
    ],
)
def test_other_messages_are_dead_letters_with_their_reason(data: Any, said: str) -> None:
    found = _decoder().decode(_message(data, source="station"))
    assert isinstance(found, dict)
    assert found["reason"] == "malformed"
    assert found["message"].startswith(said)
    assert (found["id"], found["published"]) == ("77", "2026-11-29T12:00:30.000Z")
    assert found["attributes"] == {"source": "station"}
    # It can be written, and read back.
    assert json.loads(json.dumps(found)) == found


def test_an_attribute_gives_the_id_and_another_one_the_time() -> None:
    decoder = _decoder(id_attribute="event", time_attribute="at")
    published = datetime(2026, 11, 29, 12, 0, 5, tzinfo=UTC)
    for text in ("2026-11-29T11:59:59.5Z", "2026-11-29T12:59:59+01:00", "1795953599000"):
        found = decoder.decode(_message({"id": "a"}, published, event="e1", at=text))
        assert isinstance(found, Row), found
        assert (found.span, found.id) == ("2026-11-29T115900Z-60s", "e1")
    without = decoder.decode(_message({"id": "a"}, at="2026-11-29T12:00:00Z"))
    assert without.id == "77"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("at", "reason", "said"),
    [
        ("", "malformed", "its time, the attribute at, is not valid: ''"),
        ("noon", "malformed", "its time, the attribute at, is not valid: 'noon'"),
        ("2026-11-29T12:00:00", "malformed", "its time, the attribute at, is not valid"),
        ("999999999999999", "malformed", "its time"),
        ("2026-11-29T12:05:31Z", "malformed", "its time is in the future: 2026-11-29T12:05:31Z"),
        ("2026-11-29T11:59:19Z", "late", None),
        ("1969-12-31T23:59:59Z", "late", None),
    ],
)
def test_times_that_are_wrong_or_too_late(at: str, reason: str, said: str | None) -> None:
    found = _decoder(time_attribute="at").decode(_message({"id": "a"}, at=at))
    if at == "2026-11-29T11:59:19Z":
        # Its window ended at 12:00:00 and closed at 12:00:10, before 12:00:30.
        assert isinstance(found, dict)
        assert found["message"] == "its window closed at 2026-11-29T12:00:10.000Z, before it was published"
    assert isinstance(found, dict)
    assert found["reason"] == reason
    assert said is None or found["message"].startswith(said)


def test_columns_are_those_that_the_problem_reads() -> None:
    problem = Problem(
        name="trips",
        key="trip",
        label=Numeric("fare", column="Fare ($)"),
        features=[Categorical("payment", vocabulary=["Card", "True"]), Numeric("miles")],
        splits=Splits(time="pickup", eval_from="2026-02-01", test_from="2026-03-01"),
        missing=["NA"],
    )
    found = {column.name: column for column in columns_of(problem)}
    assert list(found) == ["trip", "Fare ($)", "payment", "miles", "pickup"]
    assert [each.kind for each in found.values()] == ["text", "number", "text", "number", "text"]
    assert found["payment"].value(True) == "True"
    assert found["miles"].value(" NA ") is None
    # The split's column is derived from one of the messages.
    derived = dataclasses.replace(problem, derive={"pickup": timestamp("seconds", unit="s")})
    assert [column.name for column in columns_of(derived)] == ["trip", "Fare ($)", "seconds", "payment", "miles"]


def test_a_problem_that_spans_cannot_hold_is_refused() -> None:
    problem = Problem(name="trips", key="headrace_message_id", label=Numeric("fare"), features=[Numeric("miles")])
    with pytest.raises(UsageError, match="has the name in which spans hold the ids of messages"):
        columns_of(problem)
