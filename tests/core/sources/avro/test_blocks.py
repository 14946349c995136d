"""A row of an Avro file that has no end is named, and a block has as many rows as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.avro_files import avro_file, long, read, text
from support.peak_memory import bounded_memory

from headrace.core.errors import UnreadableFile
from headrace.core.sources.avro import blocks, parts, reader
from headrace.core.sources.avro.reader import AvroSource
from headrace.core.sources.avro.schema import Definitions, named_types, physical

WIDE = [("id", "string"), ("city", ["null", "string"]), ("n", "long"), ("t", {"type": "array", "items": "string"})]
ROW = text(b"a") + long(0) + long(3) + long(0)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (text(b"a") + long(7) + long(3) + long(0), "city"),
        (long(-5) + long(0) + long(3) + long(0), "id"),
        (text(b"a") + long(1) + long(1 << 40) + b"x", "city"),
        (text(b"a") + long(0) + b"\xff" * 11, "n"),
        (text(b"a") + long(0) + long(3) + long(1) + long(100) + b"x", "t"),
    ],
)
@pytest.mark.parametrize("columns", [["id", "city", "n", "t"], ["n"]])
def test_a_row_without_an_end_is_named(tmp_path: Path, row: bytes, column: str, columns: list[str]) -> None:
    (tmp_path / "a.avro").write_bytes(avro_file(WIDE, [ROW] * 3, [ROW, ROW, row]))
    with pytest.raises(UnreadableFile, match="a value cannot be read") as caught:
        read(tmp_path / "a.avro", columns)
    assert caught.value.where == f'{tmp_path / "a.avro"}, row 6, column "{column}"'


def test_a_block_with_more_than_its_rows_is_damaged(tmp_path: Path) -> None:
    whole = avro_file(WIDE, [ROW, ROW])
    counted = long(2) + long(10) + ROW
    assert whole.count(counted) == 1
    (tmp_path / "a.avro").write_bytes(whole.replace(counted, long(1) + long(10) + ROW))
    with pytest.raises(UnreadableFile, match=r"Expected 1 rows in 10 bytes\. Received: 5 bytes"):
        read(tmp_path / "a.avro", ["id"])


def test_types_within_lists_of_types_are_bounded() -> None:
    """A schema of 60 short records, each of which has two lists of the one before, declares 2 to the 60 fields."""
    kind: Any = {"type": "record", "name": "r0", "fields": [{"name": "a", "type": "long"}]}
    for number in range(1, 61):
        fields = [
            {"name": "a", "type": {"type": "array", "items": kind}},
            {"name": "b", "type": {"type": "array", "items": f"r{number - 1}"}},
        ]
        kind = {"type": "record", "name": f"r{number}", "fields": fields}
    written = physical(kind, named_types(kind), {})
    assert written["fields"][1]["type"]["items"] is not kind
    left = str(Definitions(named_types(kind)).of(kind))
    assert 10_000 < len(left) < 2_000_000


def test_a_short_block_of_many_rows_is_read_in_parts(tmp_path: Path) -> None:
    rows = 3_000_000
    (tmp_path / "a.avro").write_bytes(avro_file([("n", "long")], [b"\0"] * rows))
    seen = 0
    with bounded_memory(200 << 20):
        for batch, numbers, _ in AvroSource().read(str(tmp_path / "a.avro"), ["n"], 1000):
            assert numbers.tolist() == list(range(seen + 1, seen + batch.num_rows + 1))
            seen += batch.num_rows
    assert seen == rows


COLORS = [("n", "long"), ("c", {"type": "array", "items": {"type": "enum", "name": "color", "symbols": ["red"]}})]
COLOR, NO_COLOR = (long(1) + long(1) + long(symbol) + long(0) for symbol in (0, 5))


def test_a_value_in_a_later_part_of_a_block_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(avro_file(COLORS, [COLOR] * 20_004 + [NO_COLOR] + [COLOR] * 15_000))
    table, numbers, refused = read(tmp_path / "a.avro", ["n", "c"])
    assert numbers == [number for number in range(1, 35_006) if number != 20_005]
    assert [(row.row, row.fault.column) for row in refused] == [(20_005, "c")]
    assert table.column("c").to_pylist() == [["red"]] * 35_004


def test_a_row_without_an_end_in_a_later_part_of_a_block_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(avro_file(COLORS, [COLOR] * 20_004 + [long(1) + long(9) + b"\xff"]))
    with pytest.raises(UnreadableFile, match="a value cannot be read") as caught:
        read(tmp_path / "a.avro", ["n", "c"])
    assert caught.value.where == f'{tmp_path / "a.avro"}, row 20005, column "c"'


LISTS = [("n", "long"), ("t", {"type": "array", "items": "long"})]


def numbers_row(n: int, count: int) -> bytes:
    """A row with a list of zeros, of a byte each."""
    return long(n) + long(count) + b"\0" * count + long(0)


@pytest.fixture
def a_row_has_1_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that takes a moment to reach."""
    for module in (blocks, parts, reader):
        monkeypatch.setattr(module, "MAXIMUM_ROW", 1 << 20)


@pytest.mark.usefixtures("a_row_has_1_mib")
@pytest.mark.parametrize("columns", [["n"], ["n", "t"]])
def test_a_long_block_of_long_rows_is_read_in_parts(tmp_path: Path, columns: list[str]) -> None:
    count, items = 30, 200_000
    (tmp_path / "a.avro").write_bytes(avro_file(LISTS, [numbers_row(number, items) for number in range(count)]))
    found, lengths = list[int](), list[int]()
    # All of the lists take 48 MB in Python, and as much in Arrow.
    with bounded_memory(60 << 20):
        for batch, numbers, refused in AvroSource().read(str(tmp_path / "a.avro"), columns, 100):
            assert numbers.tolist() == [number + 1 for number in batch.column("n").to_pylist()]
            assert not refused
            found += batch.column("n").to_pylist()
            lengths += [len(each) for each in batch.column("t")] if "t" in columns else []
    assert found == list(range(count))
    assert lengths == [items] * count * ("t" in columns)


@pytest.mark.usefixtures("a_row_has_1_mib")
def test_a_row_that_is_too_long_is_refused_before_it_takes_its_memory(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(avro_file(LISTS, [numbers_row(7, 1)] * 3 + [numbers_row(0, 12 << 20)]))
    # Its list takes 100 MB in Python.
    with bounded_memory(60 << 20), pytest.raises(UnreadableFile, match="a row of at most 1 MiB") as caught:
        list(AvroSource().read(str(tmp_path / "a.avro"), ["n"], 100))
    assert caught.value.where == f'{tmp_path / "a.avro"}, row 4, column "t"'
