"""The encoder against protobuf's own deterministic serialization of tf.train.Example."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.components.tfrecord.encoding import encode

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    pa.float32(): st.floats(width=32),
    pa.int64(): INT64,
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.binary(): st.binary(max_size=300),
    pa.large_binary(): st.binary(max_size=20),
}


def expected(row: dict[str, Any], schema: pa.Schema) -> bytes:
    example = tf.train.Example(features=tf.train.Features())
    for name, value in row.items():
        if value is None:
            continue
        feature, kind = example.features.feature[name], schema.field(name).type
        if pa.types.is_float32(kind):
            feature.float_list.value.append(value)
        elif pa.types.is_int64(kind):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
    return bytes(example.SerializeToString(deterministic=True))


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    names = draw(st.lists(TEXT | st.text("abc", min_size=120, max_size=130), unique=True, min_size=1, max_size=4))
    rows = draw(st.integers(0, 6))
    arrays = []
    for _ in names:
        kind = draw(st.sampled_from(list(KINDS)))
        values = draw(st.lists(st.none() | KINDS[kind], min_size=rows, max_size=rows))
        arrays.append(pa.array(values, kind))
    return pa.RecordBatch.from_arrays(arrays, names=names)


@given(batch=batches(), start=st.integers(0, 3))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_bytes_equal_protobuf(batch: pa.RecordBatch, start: int) -> None:
    # A slice has buffers that begin before its first row.
    batch = batch.slice(start)
    assert encode(batch).to_pylist() == [expected(row, batch.schema) for row in batch.to_pylist()]


def test_names_that_begin_alike_are_in_protobufs_order() -> None:
    row = {"age": 1, "age_group": 2, "a": 3, "ageé": 4, "": 5}
    batch = pa.RecordBatch.from_pydict({name: [value] for name, value in row.items()})
    assert encode(batch).to_pylist() == [expected(row, batch.schema)]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**35 - 1, 2**35, 2**63 - 1, -1, -(2**63)])
def test_integers_at_the_edges_of_varints(value: int) -> None:
    batch = pa.RecordBatch.from_pydict({"n": pa.array([value], pa.int64())})
    assert encode(batch).to_pylist() == [expected({"n": value}, batch.schema)]


@pytest.mark.parametrize("length", [0, 1, 119, 120, 127, 128, 16_383, 16_384, 70_000, 2_100_000])
def test_texts_at_the_edges_of_length_prefixes(length: int) -> None:
    batch = pa.RecordBatch.from_pydict({"text": ["a" * length, "", None]})
    assert encode(batch).to_pylist() == [expected(row, batch.schema) for row in batch.to_pylist()]


def test_null_leaves_the_feature_out_and_empty_does_not() -> None:
    batch = pa.RecordBatch.from_pydict({"text": pa.array([None, ""], pa.string())})
    absent, empty = (tf.train.Example.FromString(content) for content in encode(batch).to_pylist())
    assert dict(absent.features.feature) == {}
    assert list(empty.features.feature["text"].bytes_list.value) == [b""]


def test_a_null_over_bytes_that_are_there_is_absent() -> None:
    masked = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\3\0\0\0\5\0\0\0"), pa.py_buffer(b"abcde"), pa.py_buffer(b"\x02")
    )
    batch = pa.RecordBatch.from_arrays([masked], names=["text"])
    assert encode(batch).to_pylist() == [b"\x0a\x00", expected({"text": "de"}, batch.schema)]


def test_no_columns_and_no_rows() -> None:
    assert len(encode(pa.RecordBatch.from_pydict({"a": pa.array([], pa.float32())}))) == 0
    assert len(encode(pa.RecordBatch.from_pydict({"a": pa.array([], pa.string())}))) == 0


def test_other_types_and_repeated_names_are_refused() -> None:
    with pytest.raises(TypeError, match=r"column 'x' must be float32, int64, string or binary, got double"):
        encode(pa.RecordBatch.from_pydict({"x": pa.array([1.0])}))
    with pytest.raises(ValueError, match="must differ"):
        encode(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]))
