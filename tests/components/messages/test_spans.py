"""Spans of windows: created once, with each message once, in the same bytes whatever the order."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.births_stream import births
from support.fuzzing import max_examples

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.dead_letters import as_parquet, write_dead_letters
from headrace.components.messages.decode import Row
from headrace.components.messages.spans import write_span
from headrace.core.errors import DataError, UsageError

Make = Callable[..., MessagesConfig]
SPAN = "2026-11-29T120000Z-60s"


def _row(name: str, age: float = 30.0) -> Row:
    letter = {"id": name, "message_id": name, "published": "2026-11-29T12:00:30.000Z", "attributes": {}, "data": "{}"}
    return Row(SPAN, name, [name, 7.5, age, None, "1", "true"], letter)


def test_a_span_has_the_rows_of_its_window_by_id(make_config: Make) -> None:
    config = make_config()
    written = write_span(config, SPAN, [_row("b", 20.0), _row("a"), _row("b")])
    assert (written.rows, written.created) == (2, True)
    assert [(each["id"], each["reason"]) for each in written.dead] == [("b", "duplicate")]
    table = pq.read_table(config.span_uri(SPAN))
    assert table.to_pydict() == {
        "headrace_message_id": ["a", "b"],
        "record_id": ["a", "b"],
        "weight_pounds": [7.5, 7.5],
        "mother_age": [30.0, 20.0],
        "gestation_weeks": [None, None],
        "plurality": ["1", "1"],
        "mother_smokes": ["true", "true"],
    }


def test_a_second_attempt_changes_nothing_and_says_the_same(make_config: Make) -> None:
    config = make_config()
    rows = [_row("a"), _row("b")]
    write_span(config, SPAN, rows)
    before = Path(config.span_uri(SPAN)).read_bytes()
    again = write_span(config, SPAN, reversed(rows))
    assert (again.rows, again.created, again.dead) == (2, False, ())
    assert Path(config.span_uri(SPAN)).read_bytes() == before


def test_what_comes_after_the_span_is_late_or_a_duplicate_and_kept(make_config: Make) -> None:
    config = make_config()
    write_span(config, SPAN, [_row("a"), _row("b")])
    before = Path(config.span_uri(SPAN)).read_bytes()
    again = write_span(config, SPAN, [_row("b"), _row("c")])
    assert (again.rows, again.created) == (2, False)
    assert {each["id"]: each["reason"] for each in again.dead} == {"b": "duplicate", "c": "late"}
    assert Path(config.span_uri(SPAN)).read_bytes() == before


@max_examples(15)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=4))
def test_each_message_is_in_the_span_or_a_dead_letter(
    deliveries: list[list[str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _deliver(births(output=folder), deliveries)


def _deliver(config: MessagesConfig, deliveries: list[list[str]]) -> None:
    dead = 0
    for names in deliveries:
        dead += len(write_span(config, SPAN, map(_row, names)).dead)
    ids = pq.read_table(config.span_uri(SPAN)).column("headrace_message_id").to_pylist()
    assert ids == sorted(set(deliveries[0]))
    # But for later deliveries of exactly the same messages, which are attempts of the same work.
    repeated = sum(len(ids) for names in deliveries[1:] if sorted(set(names)) == ids)
    assert len(ids) + dead + repeated == sum(map(len, deliveries))


def test_a_file_that_is_no_span_is_not_touched(make_config: Make) -> None:
    config = make_config()
    path = Path(config.span_uri(SPAN))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="the file is not a span of messages"):
        write_span(config, SPAN, [_row("a")])
    assert path.read_bytes() == b"mine"


def test_dead_letters_are_the_same_file_whatever_their_order(make_config: Make) -> None:
    config = make_config()
    letters = [{**_row(name).message, "reason": "late", "message": "é"} for name in "ab"]
    letters[1] = {**letters[1], "base64": "/w=="}
    del letters[1]["data"]
    uri, content = write_dead_letters(config, SPAN, letters)
    again, _ = write_dead_letters(config, SPAN, reversed(letters))
    assert uri == again
    assert [json.loads(line)["id"] for line in Path(uri).read_text().splitlines()] == ["a", "b"]
    table = pq.read_table(pa_buffer(as_parquet(content))).to_pydict()
    assert table["reason"] == ["late", "late"]
    assert table["data"] == ["{}", None]
    assert table["base64"] == [None, "/w=="]
    assert [time.isoformat() for time in table["published"]] == ["2026-11-29T12:00:30+00:00"] * 2


def pa_buffer(content: bytes) -> object:
    """The bytes as a file."""
    import pyarrow as pa

    return pa.BufferReader(content)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"subscription": "births"}, "the name is not valid"),
        ({"stream": "1"}, "the name of the stream is not valid"),
        ({"output": ""}, "the output is empty"),
        ({"columns": ()}, "the columns are missing"),
        ({"duplicates_seconds": 0}, "duplicates_seconds is wrong"),
        ({"table": "demo.births"}, "it is not a table of BigQuery"),
        ({"table": "bigquery://demo-project.d.t", "dead_letter_table": "bigquery://demo-project.d.t"}, "of their own"),
        ({"id_attribute": "a\nb"}, "id_attribute is not valid"),
    ],
)
def test_wrong_options_are_refused(make_config: Make, more: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_config(**more)
