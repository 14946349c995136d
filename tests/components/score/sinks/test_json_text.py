from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.score.sinks.json_text import json_objects, json_text


@given(st.lists(st.none() | st.text()))
def test_texts_read_back(texts: list[str | None]) -> None:
    column = pa.array([t if t is None else t.encode("utf-8", "ignore").decode() for t in texts], pa.string())
    assert [json.loads(text) for text in json_text(column).to_pylist()] == column.to_pylist()


@given(st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)), st.integers(0, 3))
def test_floats_read_back_as_floats_and_as_what_they_were(values: list[float | None], begin: int) -> None:
    column = pa.array(values, pa.float32()).slice(begin)
    read = [json.loads(text) for text in json_text(column).to_pylist()]
    assert all(value is None or isinstance(value, float) for value in read)
    assert pa.array(read, pa.float64()).cast(pa.float32()).equals(column)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, -2]), ["1", "null", "-2"]),
        (pa.array([1.0, 0.1, 1e10, -0.0]), ["1.0", "0.1", "1e+10", "-0.0"]),
        (pa.array([True, None]), ["true", "null"]),
        (pa.array([[1.5, 2.0], None, []], pa.list_(pa.float32())), ["[1.5,2.0]", "null", "[]"]),
        (pa.array([[1, 2], [3, 4], None], pa.list_(pa.int64(), 2)).slice(1), ["[3,4]", "null"]),
        (pa.array([["a", 'b"'], [None]]), ['["a","b\\""]', "[null]"]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ['"x"', "null", '"x"']),
        (pa.array([0], pa.date32()), ['"1970-01-01"']),
        (pa.array([b"\xff", b"a", None]), ['{"b64":"/w=="}', '{"b64":"YQ=="}', "null"]),
        (pa.array([[b"\xff", b""]], pa.list_(pa.binary())), ['[{"b64":"/w=="},{"b64":""}]']),
    ],
)
def test_every_type(column: pa.Array, expected: list[str]) -> None:
    assert json_text(column).to_pylist() == expected


def test_a_row_is_an_object_of_its_columns_in_their_order() -> None:
    batch = pa.record_batch({'k"': ["a", "b"], "p": pa.array([0.5, 2.0], pa.float32())})
    assert json_objects(batch).to_pylist() == ['{"k\\"":"a","p":0.5}', '{"k\\"":"b","p":2.0}']
    assert json_objects(batch.slice(0, 0)).to_pylist() == []
