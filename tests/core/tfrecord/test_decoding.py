"""The decoder against protobuf's own parser, on Examples written well, otherwise, and not at all."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError
from headrace.core.tfrecord import parser
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.encoding import encode


@pytest.fixture(autouse=True, scope="module", params=[0, 32], ids=["side by side", "one by one"])
def few(request: pytest.FixtureRequest) -> Iterator[None]:
    """Values of a list are parsed in either way, whatever the number of records."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parser, "_FEW", request.param)
        yield


INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 300)
FLOAT32 = st.floats(width=32, allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float_list": st.lists(FLOAT32, max_size=3),
    "int64_list": st.lists(INT64, max_size=3),
    "bytes_list": st.lists(st.binary(max_size=200), max_size=3),
}
# Names of the same length and beginning, longer than a word, and none.
NAMES = ["", "a", "b", "eight888", "a name of more than 8 bytes", "a name of more than 8 bytez", "été"]


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, tuple[str, list[Any]]]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from(list(VALUES))) for name in names}
    rows = draw(st.integers(0, 5))
    return [{n: (kinds[n], draw(VALUES[kinds[n]])) for n in names if draw(st.integers(0, 4))} for _ in range(rows)]


def message(row: dict[str, tuple[str, list[Any]]]) -> Any:
    plain = tf.train.Example()
    plain.features.SetInParent()
    for name, (kind, values) in row.items():
        field = getattr(plain.features.feature[name], kind)
        field.SetInParent()
        field.value.extend(values)
    return plain


def expected(examples: list[Any]) -> dict[str, list[Any]]:
    """Rows as columns, by protobuf: a list where any row of the column has not exactly one value."""
    columns: dict[str, list[Any]] = {}
    for name in sorted({name for plain in examples for name in plain.features.feature}):
        lists = []
        for plain in examples:
            feature = plain.features.feature.get(name)
            kind = feature.WhichOneof("kind") if feature is not None else None
            lists.append(None if kind is None else list(getattr(feature, kind).value))
        single = all(values is None or len(values) == 1 for values in lists)
        columns[name] = [values[0] if values is not None else None for values in lists] if single else lists
    return columns


def records_of(contents: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(contents, pa.large_binary())


@given(rows=tables(), start=st.integers(0, 2))
@max_examples(300)
def test_columns_are_what_protobuf_reads(rows: list[dict[str, tuple[str, list[Any]]]], start: int) -> None:
    examples = [message(row) for row in rows]
    records = records_of([plain.SerializeToString() for plain in examples]).slice(start)
    got = decode(records)
    assert got.num_rows == len(records)
    got.validate(full=True)
    assert got.to_pydict() == expected(examples[start:])


def varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def entry(name: bytes, feature: bytes) -> bytes:
    return field(1, field(1, name) + field(2, feature))


FLOAT = field(2, field(1, struct.pack("<f", 1.5)))
NUMBER = field(3, field(1, varint(300)))
WRITTEN_OTHERWISE = {
    "value before key": field(1, field(1, field(2, FLOAT) + field(1, b"x"))),
    "no value": field(1, field(1, field(1, b"x"))),
    "no key": field(1, field(1, field(2, FLOAT))),
    "the key twice": field(1, field(1, field(1, b"y") + field(1, b"x") + field(2, FLOAT))),
    "an entry twice, the later counts": field(1, entry(b"x", NUMBER) + entry(b"x", FLOAT)),
    "features in two parts": field(1, entry(b"x", FLOAT)) + field(1, entry(b"y", NUMBER)),
    "a list in two parts": field(1, entry(b"x", FLOAT + FLOAT)),
    "two kinds, the later counts": field(1, entry(b"x", NUMBER + FLOAT)),
    "not packed": field(1, entry(b"x", field(2, b"\x0d" + struct.pack("<f", 2.5)))),
    "integers not packed": field(1, entry(b"y", field(3, b"\x08\x05\x08\x06"))),
    "packed in two parts": field(1, entry(b"y", field(3, field(1, b"\1") + field(1, b"\2\3")))),
    "packed, of no numbers": field(1, entry(b"y", field(3, field(1, b"")))),
    "an unknown field": field(1, entry(b"x", FLOAT)) + field(9, b"new"),
    "a length in more bytes than needed": b"\x0a\x80\x80\x00",
    "an integer in more bytes than needed": field(1, entry(b"y", field(3, field(1, b"\x81\x80\x00")))),
    "no kind": field(1, entry(b"x", b"")),
    "nothing": b"",
    "no features": field(1, b""),
}


@pytest.mark.parametrize("case", WRITTEN_OTHERWISE)
def test_what_is_written_otherwise_is_what_protobuf_reads(case: str) -> None:
    contents = [field(1, entry(b"x", FLOAT) + entry(b"y", NUMBER)), WRITTEN_OTHERWISE[case]]
    examples = [tf.train.Example.FromString(content) for content in contents]
    assert decode(records_of(contents)).to_pydict() == expected(examples)


REAL = message({"age": ("int64_list", [300]), "name": ("bytes_list", [b"ab", b"c"]), "x": ("float_list", [1.5, 2.0])})


@given(st.data())
@max_examples(500)
def test_damaged_bytes_are_read_as_protobuf_reads_them_or_refused(data: st.DataObject) -> None:
    content = bytearray(REAL.SerializeToString(deterministic=True))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    records = records_of([b"", bytes(content)])
    try:
        plain = tf.train.Example.FromString(bytes(content))
    except DecodeError:
        with pytest.raises(DataError, match=r"record 1 is not a tf.train.Example"):
            decode(records)
        return
    got = {name: [str(value) for value in values] for name, values in decode(records).to_pydict().items()}
    reference = expected([tf.train.Example(), plain])
    assert got == {name: [str(value) for value in values] for name, values in reference.items()}


@given(st.binary(max_size=40))
@example(b"\x0a\xff\xff\xff\xff\x7f")
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@max_examples(300)
def test_any_bytes_are_read_as_protobuf_reads_them_or_refused(content: bytes) -> None:
    try:
        plain = tf.train.Example.FromString(content)
    except DecodeError:
        with pytest.raises(DataError, match=r"record 0 is not a tf.train.Example"):
            decode(records_of([content]))
        return
    assert set(decode(records_of([content])).schema.names) == set(plain.features.feature)


def test_types_and_order() -> None:
    rows = [{"f": ("float_list", [1.0]), "i": ("int64_list", [-1]), "b": ("bytes_list", [b"\xff"])}]
    records = records_of([message(row).SerializeToString() for row in rows])
    assert dict(zip(decode(records).schema.names, decode(records).schema.types, strict=True)) == {
        "b": pa.binary(),
        "f": pa.float32(),
        "i": pa.int64(),
    }
    got = decode(records, ["i", "nowhere", "b"])
    assert got.to_pydict() == {"i": [-1], "nowhere": [None], "b": [b"\xff"]}
    assert got.schema.field("nowhere").type == pa.null()
    assert decode(records, []).num_rows == 1


def test_a_feature_of_two_kinds_is_refused() -> None:
    rows = [{"x": ("float_list", [1.0])}, {}, {"x": ("int64_list", [1])}]
    with pytest.raises(
        DataError, match=r"feature 'x' has two different kinds.*float_list, as in record 0.*int64_list in record 2"
    ):
        decode(records_of([message(row).SerializeToString() for row in rows]))


def test_many_rows_of_many_layouts() -> None:
    random = np.random.default_rng(3)
    rows = []
    for number in range(3000):
        row: dict[str, tuple[str, list[Any]]] = {"key": ("bytes_list", [b"k%d" % number])}
        if number % 3:
            row["long"] = ("bytes_list", [b"x" * int(random.integers(0, 20_000 if number % 500 == 1 else 200))])
        if number % 5:
            row["n"] = ("int64_list", random.integers(-(2**63), 2**63 - 1, int(random.integers(0, 4))).tolist())
        rows.append(row)
    examples = [message(row) for row in rows]
    got = decode(records_of([plain.SerializeToString() for plain in examples]))
    assert got.to_pydict() == expected(examples)


@given(
    st.lists(st.none() | FLOAT32, min_size=4, max_size=4),
    st.lists(st.none() | INT64, min_size=4, max_size=4),
    st.lists(st.none() | st.binary(max_size=300), min_size=4, max_size=4),
)
@max_examples(100)
def test_what_was_encoded_comes_back(floats: list[Any], integers: list[Any], contents: list[Any]) -> None:
    batch = pa.RecordBatch.from_pydict(
        {"b": pa.array(contents, pa.binary()), "f": pa.array(floats, pa.float32()), "i": pa.array(integers, pa.int64())}
    )
    got = decode(encode(batch), ["b", "f", "i"])
    assert got.to_pydict() == batch.to_pydict()


def test_records_of_many_keys_and_of_long_ones() -> None:
    """Keys that are not compared with those of all records at once."""
    names = [f"feature {number % 37}" for number in range(100)] + ["long" * 200, "long" * 199 + "lonG", "long" * 200]
    rows = [{name: ("int64_list", [place])} for place, name in enumerate(names)]
    examples = [message({**row, "each": ("bytes_list", [b"x"])}) for row in rows]
    decoded = decode(records_of([example.SerializeToString() for example in examples]))
    assert {name: decoded[name].to_pylist() for name in decoded.schema.names} == expected(examples)


def test_the_values_of_a_long_list_are_parsed_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a call for each, of which a record of 2 MB may have a million."""
    monkeypatch.setattr(parser, "_FEW", 32)
    calls, field_of = itertools.count(), parser._Parser._field

    def counted(*arguments: Any) -> Any:
        next(calls)
        return field_of(*arguments)

    monkeypatch.setattr(parser._Parser, "_field", counted)
    examples = [message({"x": ("bytes_list", [b"a", b""] * 2000)}), message({"x": ("bytes_list", [b"b"])})]
    decoded = decode(records_of([example.SerializeToString() for example in examples]))
    assert decoded.to_pydict() == expected(examples)
    assert next(calls) < 10
