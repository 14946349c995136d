"""A row of an Avro file that has no end is named, and a block has as many rows as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.avro_files import avro_file, long, read, text

from headrace.core.errors import UnreadableFile
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
