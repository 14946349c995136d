"""The same logical values through every door: key, category and number are equal, exactly."""

from __future__ import annotations

import datetime
import json
import tempfile
import uuid
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.judged_rows import check_meaning

from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_csv
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.validate import validate
from headrace.core.saved_model.json.columns import Interface, columns_from_instances
from headrace.core.saved_model.json.inputs import InputFeature
from headrace.core.sources.open import list_parts, read_part
from headrace.core.sources.source import Part, Rows
from headrace.core.tfrecord.encoding import encode
from headrace.core.tfrecord.framing import frame
from headrace.core.values.columns import json_value, texts
from headrace.core.values.numbers import parse_integers, parse_numbers

Values = Sequence[Any]


def in_memory(values: Values, kind: pa.DataType) -> pa.Array:
    """As BigQuery gives columns."""
    batch = pa.record_batch({"id": pa.array(ids(values)), "v": pa.array(values, kind)})
    check_meaning(Rows(Part(0, "bigquery://p.d.t"), batch, np.arange(1, len(values) + 1)))
    return batch.column("v")


def read(name: str, write: Callable[[Path], object]) -> pa.Array:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        (part,) = list_parts(folder)
        found = list(read_part(part, ["id", "v"], 3))
    assert not [row for rows in found for row in rows.refused]
    for rows in found:
        check_meaning(rows)
    # As types may differ from batch to batch, each is taken by itself.
    return pa.concat_arrays([texts(rows.batch.column("v"))[0] for rows in found])


def by_parquet(values: Values, kind: pa.DataType) -> pa.Array:
    return read(
        "a.parquet", lambda path: pq.write_table(pa.table({"id": ids(values), "v": pa.array(values, kind)}), path)
    )


def by_json(values: Values, _: pa.DataType) -> pa.Array:
    lines = [json.dumps({"id": n, "v": value}) for n, value in zip(ids(values), values, strict=True)]
    return read("a.jsonl", lambda path: path.write_text("\n".join(lines)))


def by_csv(values: Values, kind: pa.DataType) -> pa.Array:
    """As quarantined rows that are put back: what they held, as CSV to correct."""
    rows = [
        QuarantinedRow("a", n, Fault("x", "not_finite", ""), {"id": n, "v": json_value(value)})
        for n, value in zip(ids(values), pa.array(values, kind), strict=True)
    ]
    held = [json.loads(row.to_line())["values"] for row in rows]
    again = [QuarantinedRow(row.file, row.row, row.fault, of) for row, of in zip(rows, held, strict=True)]
    return read("a.csv", lambda path: path.write_bytes(to_csv(again)))


def by_avro(values: Values, kind: pa.DataType) -> pa.Array:
    def write(path: Path) -> None:
        fields = [{"name": "id", "type": "long"}, {"name": "v", "type": ["null", avro_type(kind)]}]
        schema = {"type": "record", "name": "row", "fields": fields}
        rows = [{"id": n, "v": v} for n, v in zip(ids(values), values, strict=True)]
        with path.open("wb") as file:
            fastavro.writer(file, schema, rows, sync_interval=32)

    return read("a.avro", write)


def avro_type(kind: pa.DataType) -> Any:
    if pa.types.is_decimal(kind):
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    if pa.types.is_timestamp(kind):
        return {"type": "long", "logicalType": ("" if kind.tz else "local-") + "timestamp-micros"}
    if pa.types.is_time(kind):
        return {"type": "long", "logicalType": "time-micros"}
    plain = {
        pa.int64(): "long", pa.float32(): "float", pa.float64(): "double", pa.bool_(): "boolean",
        pa.string(): "string", pa.binary(): "bytes", pa.date32(): {"type": "int", "logicalType": "date"},
        pa.uuid(): {"type": "string", "logicalType": "uuid"},
    }  # fmt: skip
    return plain[kind]


def by_json_array(values: Values, _: pa.DataType) -> pa.Array:
    rows = [{"id": n, "v": value} for n, value in zip(ids(values), values, strict=True)]
    return read("a.json", lambda path: path.write_text(json.dumps(rows, indent=1)))


def by_union(values: Values, kind: pa.DataType) -> pa.Array:
    """As a member of a union with other types."""

    def write(path: Path) -> None:
        float_type = "float" if kind == pa.float32() else "double"
        union = ["null", "string", "boolean", "long", float_type, {"type": "array", "items": "long"}]
        fields = [{"name": "id", "type": "long"}, {"name": "v", "type": union}]
        rows = [{"id": n, "v": v} for n, v in zip(ids(values), values, strict=True)]
        with path.open("wb") as file:
            fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, rows, sync_interval=32)

    return read("a.avro", write)


def by_tfrecord(values: Values, kind: pa.DataType) -> pa.Array:
    def write(path: Path) -> None:
        batch = pa.record_batch({"id": pa.array(ids(values)), "v": pa.array(values, kind)})
        path.write_bytes(frame(encode(batch)))

    return read("a.tfrecord", write)


def by_request(values: Values, _: pa.DataType) -> pa.Array:
    interface = Interface((InputFeature("v", "categorical", optional=True),))
    asked = json.loads(json.dumps([{"v": value} for value in values]))
    column = columns_from_instances(asked, interface)["v"]
    return pa.array([text or None for text in column], pa.string())


def ids(values: Values) -> list[int]:
    return list(range(1, len(values) + 1))


class Kind(NamedTuple):
    """A logical type: what its values are, and the doors that have it."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    doors: tuple[Callable[[Values, pa.DataType], pa.Array], ...]
    text: Callable[[Any], str]


def shortest(width: type) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        number = float(width(value))
        return str(int(number)) if number.is_integer() else repr(float(str(width(value))))

    return text


def of_decimal(value: Decimal) -> str:
    if value == value.to_integral_value(context=EXACT):
        return str(int(value))
    sign, digits, exponent = value.normalize(EXACT).as_tuple()
    plain = f"{value.normalize(EXACT):f}"
    if abs(value) >= Decimal("0.0001"):
        return plain
    mantissa = str(digits[0]) + ("." + "".join(map(str, digits[1:])) if len(digits) > 1 else "")
    return f"{'-' * sign}{mantissa}e-{-(int(exponent) + len(digits) - 1):02d}"


def of_time(value: Any) -> str:
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return of_time(value.astimezone(datetime.UTC).replace(tzinfo=None)) + "Z"
    seconds = value.replace(microsecond=0).isoformat(*([" "] if isinstance(value, datetime.datetime) else []))
    return seconds + (f".{value.microsecond:06d}".rstrip("0") if value.microsecond else "")


def seconds_of(value: datetime.timedelta) -> Decimal:
    return Decimal(value // datetime.timedelta(microseconds=1)).scaleb(-6, EXACT)


def finite(width: Any) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**precision - 1), 10**precision - 1).map(lambda n: Decimal(n).scaleb(-scale, EXACT))


EXACT = Context(prec=100)
ALL = (in_memory, by_parquet, by_json, by_json_array, by_csv, by_avro, by_union, by_request)
TYPED = (in_memory, by_parquet, by_csv, by_avro)
WITHOUT_AVRO = (in_memory, by_parquet, by_json, by_json_array, by_csv, by_request)
ARROW = (in_memory, by_parquet, by_csv)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)
SPANS = st.timedeltas(datetime.timedelta(days=-100_000_000), datetime.timedelta(days=100_000_000))
TIMES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
KINDS = {
    "int64": Kind(pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1), (*ALL, by_tfrecord), str),
    "uint64": Kind(pa.uint64(), st.integers(0, (1 << 64) - 1), WITHOUT_AVRO, str),
    "int8": Kind(pa.int8(), st.integers(-128, 127), ARROW, str),
    "float64": Kind(pa.float64(), finite(64), ALL, shortest(float)),
    "float32": Kind(pa.float32(), finite(32), (*TYPED, by_union, by_tfrecord), shortest(np.float32)),
    "float16": Kind(pa.float16(), finite(16), ARROW, shortest(np.float16)),
    "numeric": Kind(pa.decimal128(38, 9), decimals(38, 9), TYPED, of_decimal),
    "bignumeric": Kind(pa.decimal256(76, 38), decimals(76, 38), ARROW, of_decimal),
    "cents": Kind(pa.decimal128(9, 2), decimals(9, 2), TYPED, of_decimal),
    "boolean": Kind(pa.bool_(), st.booleans(), ALL, lambda value: "true" if value else "false"),
    "text": Kind(pa.string(), TEXT, (*ALL, by_tfrecord), str),
    "string_view": Kind(pa.string_view(), TEXT, ARROW, str),
    "large_string": Kind(pa.large_string(), TEXT, ARROW, str),
    "dictionary": Kind(pa.dictionary(pa.int32(), pa.string()), TEXT, ARROW, str),
    "bytes": Kind(pa.binary(), TEXT.map(str.encode), (*TYPED, by_tfrecord), bytes.decode),
    "fixed bytes": Kind(pa.binary(3), st.text("abc7", min_size=3, max_size=3).map(str.encode), ARROW, bytes.decode),
    "uuid": Kind(pa.uuid(), st.uuids(), TYPED, str),
    "date": Kind(pa.date32(), st.dates(datetime.date(1700, 1, 1)), TYPED, lambda value: value.isoformat()),
    "date64": Kind(pa.date64(), st.dates(datetime.date(1700, 1, 1)), ARROW, lambda value: value.isoformat()),
    "time": Kind(pa.time64("us"), st.times(), TYPED, of_time),
    "seconds": Kind(pa.timestamp("s"), TIMES.map(lambda t: t.replace(microsecond=0)), ARROW, of_time),
    "microseconds": Kind(pa.timestamp("us"), TIMES, TYPED, of_time),
    "nanoseconds": Kind(pa.timestamp("ns"), TIMES, ARROW, of_time),
    "instants": Kind(pa.timestamp("us", "UTC"), TIMES.map(lambda t: t.replace(tzinfo=datetime.UTC)), TYPED, of_time),
    "durations": Kind(pa.duration("us"), SPANS, ARROW, lambda value: of_decimal(seconds_of(value))),
    "milliseconds": Kind(
        pa.duration("ms"),
        st.integers(-(10**12), 10**12).map(lambda n: datetime.timedelta(milliseconds=n)),
        ARROW,
        lambda value: of_decimal(seconds_of(value)),
    ),
    "zoned": Kind(
        pa.timestamp("ms", "America/New_York"),
        TIMES.map(lambda t: t.replace(tzinfo=datetime.UTC, microsecond=t.microsecond // 1000 * 1000)),
        ARROW,
        of_time,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_text_of_a_value_is_the_same_through_every_door(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    values = data.draw(st.lists(st.none() | kind.values, min_size=1, max_size=7))
    expected = [None if value is None else kind.text(value) for value in values]
    for door in kind.doors:
        if door is by_avro and name == "uuid":
            given_values: Values = [value and str(value) for value in values]
        else:
            given_values = [value.bytes if isinstance(value, uuid.UUID) else value for value in values]
        came = texts(door(given_values, kind.type))[0]
        # A column of nothing but nulls has no type in JSON.
        assert came.cast(pa.string()).to_pylist() == expected, door.__name__


NUMBERS = ("durations", "int64", "uint64", "int8", "float64", "float32", "float16", "numeric", "bignumeric", "cents")


@pytest.mark.parametrize("name", NUMBERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_number_of_a_value_is_that_of_its_text(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    values = data.draw(st.lists(st.none() | kind.values, min_size=1, max_size=7))
    column = pa.array(values, kind.type)
    numbers, missing, wrong = parse_numbers(column)
    again = parse_numbers(texts(column)[0])
    assert missing.tolist() == [value is None for value in values] == again[1].tolist()
    assert not wrong.any()
    assert not again[2].any()
    # A narrow float is the number of its shortest text at its own width.
    width = {"float32": np.float32, "float16": np.float16}.get(name, np.float64)
    assert numbers.astype(width).tolist() == again[0].astype(width).tolist()
    if name == "durations":
        assert numbers.tolist() == [0.0 if value is None else float(seconds_of(value)) for value in values]
    if pa.types.is_integer(kind.type) or pa.types.is_decimal(kind.type):
        assert numbers.tolist() == [0.0 if value is None else float(value) for value in values]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(1 << 64), 1 << 65) | st.floats() | st.sampled_from(["N/A", " 7", "7.0", "x", None, "0x10"])),
    st.sampled_from(["int8", "int32", "int64", "uint8", "uint64"]),
)
def test_integers_are_exact_whatever_stands_beside_them(values: list[Any], dtype: str) -> None:
    bounds = np.iinfo(dtype)
    found = parse_integers(pa.array([None if v is None else str(v) for v in values], pa.string()), dtype)
    for row, value in enumerate(values):
        if isinstance(value, int):
            inside = bounds.min <= value <= bounds.max
            assert found.beyond[row] == (not inside)
            assert found.values[row] == (value if inside else 0)
            assert not found.wrong[row]
    assert found.wrong.tolist() == [
        value in ("x", "0x10", "N/A") or (isinstance(value, float) and not value.is_integer()) for value in values
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(1 << 65), 1 << 65) | finite(64) | TEXT, min_size=1))
def test_values_of_json_lines_do_not_depend_on_their_neighbours(values: list[Any]) -> None:
    alone = [by_json([value], pa.null())[0].as_py() for value in values[:4]]
    assert by_json(values, pa.null()).to_pylist()[: len(alone)] == alone


PROBLEM = Problem(
    name="doors",
    key="id",
    label=Numeric("y"),
    features=[Categorical("c", optional=True), Categorical("flag", vocabulary=["False", "True"], optional=True)],
)


def checked(**columns: Values) -> list[dict[str, Any]]:
    batch = pa.record_batch(
        {name: pa.array(value) if isinstance(value, list) else value for name, value in columns.items()}
    )
    result = validate(PROBLEM, Rows(Part(0, "a.parquet"), batch, np.arange(1, batch.num_rows + 1)))
    return [*result.batch.to_pylist(), *({"row": r.row, "reason": r.fault.reason} for r in result.quarantined)]


def test_a_typed_value_is_the_declared_category_that_says_it() -> None:
    rows = checked(id=[7.0, 2.0**53], y=[1, 2], c=[True, None], flag=[True, False])
    assert rows == [
        {"id": "7", "y": 1.0, "c": "true", "flag": "True"},
        {"id": "9007199254740992", "y": 2.0, "c": None, "flag": "False"},
    ]


def test_bytes_that_are_no_text_cost_their_row() -> None:
    rows = checked(id=[b"a", b"\xff", b"c"], y=[1, 2, 3], c=[b"x", b"y", b"\xfe"], flag=[None, None, None])
    assert rows == [
        {"id": "a", "y": 1.0, "c": "x", "flag": None},
        {"row": 2, "reason": "not_utf8"},
        {"row": 3, "reason": "not_utf8"},
    ]


def test_a_bound_is_the_same_number_at_every_width() -> None:
    bounded = Problem(name="doors", key="id", label=Numeric("y", minimum=0.1, maximum=0.3), features=[Categorical("c")])
    for kind in (pa.float64(), pa.float32(), pa.float16(), pa.decimal128(9, 2), pa.string()):
        written = ["0.1", "0.3", "0.09", "0.31"]
        y = pa.array(written if kind == pa.string() else [Decimal(text) for text in written])
        y = y.cast(kind) if kind in (pa.string(), pa.decimal128(9, 2)) else y.cast(pa.float64()).cast(kind)
        batch = pa.record_batch({"id": pa.array([1, 2, 3, 4]), "y": y, "c": pa.array(["a"] * 4)})
        result = validate(bounded, Rows(Part(0, "a.parquet"), batch, np.arange(1, 5)))
        assert result.numbers.tolist() == [1, 2], kind
        assert [row.fault.reason for row in result.quarantined] == ["out_of_range"] * 2
