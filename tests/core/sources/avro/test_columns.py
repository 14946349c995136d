"""A value of an Avro file that its type does not have costs its row, which is named with its column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest
from support.avro_files import avro_file, long, read, text

from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.sources.avro.reader import AvroSource

ENUM = {"type": "enum", "name": "City", "symbols": ["Oslo", "Bern"]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
FIXED = {"type": "fixed", "name": "F", "size": 3, "logicalType": "decimal", "precision": 5, "scale": 1}
YEARS, DAY = "v is not a time of the years 1 to 9999: ", "v is not a time of a day: "
SYMBOL, DIGITS = "v is not the index of a symbol: ", "v is not a number of "
NONE, UTF_8 = "v is not a value of its type: ", "v is not UTF-8: "
UUID_TEXT = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def logical(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "logicalType": name}


def faults(refused: Sequence[QuarantinedRow]) -> list[tuple[int, str | None, str, str]]:
    return [(row.row, row.fault.column, row.fault.reason, row.fault.message) for row in refused]


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path, blocks: int, batch_rows: int) -> None:
    rows = [text(b"r%d" % n) + text(b"b\xffd" if n in (2, 4) else b"ok") + long(n) for n in range(5)]
    cut = [rows[at : at + -(-5 // blocks)] for at in range(0, 5, -(-5 // blocks))]
    (tmp_path / "a.avro").write_bytes(avro_file([("id", "string"), ("city", "string"), ("n", "long")], *cut))
    table, numbers, refused = read(tmp_path / "a.avro", ["id", "city", "n"], batch_rows)
    assert table.to_pydict() == {"id": ["r0", "r1", "r3"], "city": ["ok"] * 3, "n": [0, 1, 3]}
    assert numbers == [1, 2, 4]
    assert faults(refused) == [
        (3, "city", "not_utf8", "city is not UTF-8: b'b\\xffd'"),
        (5, "city", "not_utf8", "city is not UTF-8: b'b\\xffd'"),
    ]
    assert [(row.file, row.values) for row in refused] == [
        ("a.avro", {"id": "r2", "city": "b\\xffd", "n": 2}),
        ("a.avro", {"id": "r4", "city": "b\\xffd", "n": 4}),
    ]
    # Of columns that nobody reads, any bytes are as good.
    table, numbers, refused = read(tmp_path / "a.avro", ["n"], batch_rows)
    assert (table["n"].to_pylist(), numbers, refused) == ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [])


@pytest.mark.parametrize(
    ("kind", "good", "value", "bad", "reason", "message"),
    [
        (ENUM, long(1), "Bern", long(2), "malformed_row", SYMBOL + "2"),
        (ENUM, long(0), "Oslo", long(-1), "malformed_row", SYMBOL + "-1"),
        (DECIMAL, text(b"\x27\x0f"), Decimal("99.99"), text(b"\x27\x10"), "not_a_number", DIGITS + "4 digits: 0x2710"),
        (
            DECIMAL,
            text(b"\x04\xd2"),
            Decimal("12.34"),
            text(b"\x7f" * 100_000),
            "not_a_number",
            DIGITS + "4 digits: 0x" + "7f" * 29,
        ),
        (FIXED, b"\x00\x04\xd2", Decimal("123.4"), b"\x7f\xff\xff", "not_a_number", DIGITS + "5 digits: 0x7fffff"),
        (logical("int", "date"), long(19_000), date(2022, 1, 8), long(2_932_897), "not_a_time", YEARS + "2932897"),
        (logical("int", "date"), long(-719_162), date(1, 1, 1), long(-719_163), "not_a_time", YEARS + "-719163"),
        (
            logical("long", "timestamp-millis"),
            long(1_500),
            datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC),
            long(1 << 60),
            "not_a_time",
            YEARS + "1152921504606846976",
        ),
        (
            logical("long", "timestamp-micros"),
            long(-1),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
            long(-(1 << 62)),
            "not_a_time",
            YEARS + "-4611686018427387904",
        ),
        (
            logical("long", "local-timestamp-millis"),
            long(0),
            datetime(1970, 1, 1),
            long(1 << 60),
            "not_a_time",
            YEARS + "1152921504606846976",
        ),
        (
            logical("long", "local-timestamp-micros"),
            long(7),
            datetime(1970, 1, 1, 0, 0, 0, 7),
            long(1 << 60),
            "not_a_time",
            YEARS + "1152921504606846976",
        ),
        (
            logical("int", "time-millis"),
            long(86_399_999),
            time(23, 59, 59, 999_000),
            long(86_400_000),
            "not_a_time",
            DAY + "86400000",
        ),
        (logical("long", "time-micros"), long(1), time(0, 0, 0, 1), long(-1), "not_a_time", DAY + "-1"),
        (
            logical("string", "uuid"),
            text(UUID_TEXT.encode()),
            UUID_TEXT,
            text(b"0001"),
            "malformed_row",
            "v is not a UUID: 0001",
        ),
        (
            logical("string", "uuid"),
            text(UUID_TEXT.upper().encode()),
            UUID_TEXT,
            text(b"\xff\xfe"),
            "malformed_row",
            "v is not a UUID: \\xff\\xfe",
        ),
        (
            ["null", "string"],
            long(1) + text(b"a"),
            "a",
            long(1) + text(b"\xed\xa0\x80"),
            "not_utf8",
            UTF_8 + "b'\\xed\\xa0\\x80'",
        ),
        (["null", ENUM], long(0), None, long(1) + long(9), "malformed_row", SYMBOL + "9"),
        (
            {"type": "array", "items": "string"},
            long(1) + text(b"a") + long(0),
            ["a"],
            long(1) + text(b"\xff") + long(0),
            "not_utf8",
            UTF_8 + "b'\\xff'",
        ),
        (
            {"type": "array", "items": ENUM},
            long(1) + long(1) + long(0),
            ["Bern"],
            long(1) + long(5) + long(0),
            "malformed_row",
            NONE + "list index out of range",
        ),
        (
            {"type": "map", "values": "string"},
            long(1) + text(b"k") + text(b"a") + long(0),
            [("k", "a")],
            long(1) + text(b"\xff") + text(b"a") + long(0),
            "not_utf8",
            UTF_8 + "b'\\xff'",
        ),
        (["long", logical("int", "date")], long(0) + long(3), 3, long(1) + long(1 << 30), "malformed_row", NONE),
        (["string", "long"], long(0) + text(b"a"), "a", long(0) + text(b"\xc3("), "not_utf8", UTF_8 + "b'\\xc3('"),
    ],
)
def test_a_value_that_its_type_does_not_have_costs_its_row(
    tmp_path: Path, kind: Any, good: bytes, value: Any, bad: bytes, reason: str, message: str
) -> None:
    rows = [text(b"r%d" % number) + (bad if number in (1, 3) else good) + long(number) for number in range(5)]
    (tmp_path / "a.avro").write_bytes(avro_file([("id", "string"), ("v", kind), ("n", "long")], rows[:2], rows[2:]))
    table, numbers, refused = read(tmp_path / "a.avro", ["id", "v", "n"])
    assert table.to_pydict() == {"id": ["r0", "r2", "r4"], "v": [value] * 3, "n": [0, 2, 4]}
    assert numbers == [1, 3, 5]
    assert [(number, column, why) for number, column, why, _ in faults(refused)] == [(2, "v", reason), (4, "v", reason)]
    assert all(row.fault.message.startswith(message) for row in refused), refused[0].fault.message
    assert [(row.values["id"], row.values["n"]) for row in refused] == [("r1", 1), ("r3", 3)]
    assert all(json.loads(row.to_line())["row"] == row.row for row in refused)
    table, numbers, refused = read(tmp_path / "a.avro", ["n", "id"])
    assert (table["n"].to_pylist(), refused) == ([0, 1, 2, 3, 4], [])


def test_each_fault_of_a_row_is_named(tmp_path: Path) -> None:
    rows = [text(b"a\xff") + long(7) + long(1), text(b"a") + long(0) + long(2)]
    (tmp_path / "a.avro").write_bytes(avro_file([("t", "string"), ("e", ENUM), ("n", "long")], rows))
    table, numbers, (row,) = read(tmp_path / "a.avro", ["e", "n", "t"])
    assert (table.to_pydict(), numbers) == ({"e": ["Oslo"], "n": [2], "t": ["a"]}, [2])
    assert [(fault.column, fault.reason) for fault in (row.fault, *row.also)] == [
        ("e", "malformed_row"),
        ("t", "not_utf8"),
    ]
    assert row.values == {"e": 7, "n": 1, "t": "a\\xff"}


def test_values_are_what_fastavro_reads(tmp_path: Path) -> None:
    """Of files without faults, with names of types that are used again, and logical types that have no meaning."""
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "city", "type": "City"}]}
    fields: list[tuple[str, Any]] = [
        ("city", ENUM),
        ("again", "City"),
        ("fixed", FIXED),
        ("other", ["null", "F"]),
        ("code", {"type": "fixed", "name": "Code", "size": 2}),
        ("twice", "Code"),
        ("uuid", {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}),
        ("inner", inner),
        ("inners", {"type": "array", "items": "Inner"}),
        ("odd", logical("string", "date")),
        ("at", ["null", logical("long", "timestamp-micros")]),
        ("flag", "boolean"),
        ("small", "float"),
        ("none", "null"),
    ]
    row = {
        "city": "Oslo",
        "again": "Bern",
        "fixed": Decimal("12.3"),
        "other": Decimal("-45.6"),
        "code": b"ab",
        "twice": b"cd",
        "uuid": UUID(UUID_TEXT).bytes,
        "inner": {"city": "Bern"},
        "inners": [{"city": "Oslo"}, {"city": "Bern"}],
        "odd": "yesterday",
        "at": datetime(2024, 2, 29, 1, 2, 3, 4, UTC),
        "flag": True,
        "small": 0.5,
        "none": None,
    }
    schema = {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind in fields]}
    with (tmp_path / "a.avro").open("wb") as file:
        fastavro.writer(file, schema, [row, {**row, "other": None, "at": None}], codec="deflate")
    table, numbers, refused = read(tmp_path / "a.avro", list(row))
    assert (numbers, refused) == ([1, 2], [])
    assert dict(AvroSource().columns(str(tmp_path / "a.avro"))) == {f.name: f.type for f in table.schema}
    expected = {**row, "uuid": UUID_TEXT}
    assert table.to_pylist() == [expected, {**expected, "other": None, "at": None}]
