"""The encoder against protobuf's own deterministic serialization of tf.train.Example."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError
from headrace.core.tfrecord.encoding import encode

pytestmark = pytest.mark.usefixtures("either_way")

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
@max_examples(300)
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


@pytest.mark.parametrize("rows", [6, 1000])
@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array([1, None, -1], pa.int8()), "int64", [1, None, -1]),
        (pa.array([2**32 - 1, None], pa.uint32()), "int64", [2**32 - 1, None]),
        (pa.array([2**63 - 1, None], pa.uint64()), "int64", [2**63 - 1, None]),
        (pa.array([True, None, False]), "int64", [1, None, 0]),
        (pa.array([1.5, None, float("nan")], pa.float16()), "float", [1.5, None, float("nan")]),
        (pa.array([0.1, None, 1e300]), "float", [0.1, None, float("inf")]),
        (pa.array([Decimal("1.25"), None], pa.decimal128(5, 2)), "float", [1.25, None]),
        (pa.array([Decimal("-1.25"), None], pa.decimal256(50, 2)), "float", [-1.25, None]),
        (pa.array(["é", None, ""], pa.string_view()), "bytes", ["é".encode(), None, b""]),
        (pa.array([b"\xff", None], pa.binary_view()), "bytes", [b"\xff", None]),
        (pa.array([b"ab", None], pa.binary(2)), "bytes", [b"ab", None]),
        (pa.array(["a", None, "b", "a"]).dictionary_encode(), "bytes", [b"a", None, b"b", b"a"]),
        (pa.array([7, None]).dictionary_encode(), "int64", [7, None]),
        (pa.DictionaryArray.from_arrays([0, 1, None], ["a", None]), "bytes", [b"a", None, None]),
        (pa.array([-1, None], pa.date32()), "int64", [-1, None]),
        (pa.array([-86_400_000, None], pa.date64()), "int64", [-1, None]),
        (pa.array([-1, None], pa.timestamp("s", "Europe/Berlin")), "int64", [-1_000_000, None]),
        (pa.array([-1, 1999, None], pa.timestamp("ns")), "int64", [-1, 1, None]),
        (pa.array([5, None], pa.time32("ms")), "int64", [5000, None]),
        (pa.array([5, None], pa.time64("us")), "int64", [5, None]),
        (pa.array([-5, None], pa.duration("s")), "int64", [-5_000_000, None]),
        (pa.nulls(3), "int64", [None, None, None]),
        (pa.array([[1, -1, 2**62], [], None], pa.list_(pa.int64())), "int64", [[1, -1, 2**62], [], None]),
        (pa.array([[1.5], [], None, [2.0, 3.0]], pa.large_list(pa.float64())), "float", [[1.5], [], None, [2, 3]]),
        (pa.array([["a", ""], [], None, ["b"]], pa.list_(pa.string())), "bytes", [[b"a", b""], [], None, [b"b"]]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), "int64", [[1, 2], None]),
        (pa.array([[1], None, [2, 3]], pa.list_view(pa.int8())), "int64", [[1], None, [2, 3]]),
        (
            pa.array([["a"], ["b", "a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "bytes",
            [[b"a"], [b"b", b"a"]],
        ),
    ],
    ids=str,
)
def test_every_type_is_what_it_is_said_to_become(column: pa.Array, kind: str, values: list[Any], rows: int) -> None:
    # Many rows take other ways than few; a slice begins within the buffers.
    repeats = -(-rows // len(column)) + 1
    column = pa.concat_arrays([column] * repeats).slice(1)
    contents = []
    for value in (values * repeats)[1:]:
        example = tf.train.Example(features=tf.train.Features())
        if value is not None:
            field = getattr(example.features.feature["x"], f"{kind}_list")
            field.SetInParent()
            field.value.extend(value if isinstance(value, list) else [value])
        contents.append(example.SerializeToString(deterministic=True))
    batch = pa.RecordBatch.from_arrays([column], names=["x"])
    assert encode(batch).to_pylist() == contents


LISTS = {pa.float32(): st.floats(width=32), pa.int64(): INT64, pa.binary(): st.binary(max_size=200)}


@given(st.data())
@max_examples(150)
def test_lists_equal_protobuf(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(LISTS)))
    values = data.draw(st.lists(st.none() | st.lists(LISTS[kind], max_size=4), max_size=6))
    column = pa.array(values, pa.list_(kind)).slice(data.draw(st.integers(0, 2)))
    contents = []
    for value in column.to_pylist():
        example = tf.train.Example(features=tf.train.Features())
        if value is not None:
            name = "float" if kind == pa.float32() else "int64" if kind == pa.int64() else "bytes"
            field = getattr(example.features.feature["list"], f"{name}_list")
            field.SetInParent()
            field.value.extend(value)
        contents.append(example.SerializeToString(deterministic=True))
    assert encode(pa.RecordBatch.from_arrays([column], names=["list"])).to_pylist() == contents


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([{"a": 1}]), r"column 'x': an Example cannot hold.*struct<a: int64>"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), r"column 'x': an Example cannot hold.*map<"),
        (pa.array([[[1]]]), r"column 'x': an Example cannot hold.*list<"),
        (pa.array([[1, None]]), r"column 'x': a list holds a null"),
        (pa.array([2**63], pa.uint64()), r"column 'x': a value of type uint64 does not fit int64"),
        (pa.array([2**62], pa.timestamp("s")), r"column 'x': a value of type timestamp\[s\] does not fit int64"),
    ],
)
def test_what_an_example_cannot_hold_is_refused(column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode(pa.RecordBatch.from_arrays([column], names=["x"]))


def test_repeated_names_are_refused() -> None:
    with pytest.raises(ValueError, match="must differ"):
        encode(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]))
