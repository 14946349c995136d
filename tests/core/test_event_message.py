"""A message of an event is refused before it is parsed where it is too large, and then if it is no JSON."""

from __future__ import annotations

import pytest

from headrace.core.errors import DataError
from headrace.core.event_message import LARGEST, event_of


def test_a_message_of_the_largest_size() -> None:
    message = b'"' + b"x" * (LARGEST - 2) + b'"'
    assert event_of(message, "model event", "topic models") == "x" * (LARGEST - 2)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b" " * (LARGEST + 1), "the model event is too large"),
        (b"[" * LARGEST, "the file is not valid JSON"),
        (b"null", "the file is damaged"),
    ],
)
def test_what_is_refused(message: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what) as error:
        event_of(message, "model event", "topic models")
    assert error.value.where == "topic models"
