"""JSON lines: types that do not depend on the block, members that begin late, bounds on what a small file may cost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import EmptyFile, UnreadableFile
from headrace.core.sources import jsonl, jsonl_lines
from headrace.core.sources.jsonl import JsonLinesSource
from headrace.core.sources.jsonl_lines import line_blocks
from headrace.core.sources.open import expected_rows, list_parts, read_part
from headrace.core.sources.source import Rows
from headrace.core.values.columns import as_text


def rows_of(path: Path, columns: list[str], batch_rows: int = 4096) -> list[Rows]:
    return [rows for part in list_parts(str(path)) for rows in read_part(part, columns, batch_rows)]


def values(batches: list[Rows], name: str) -> list[Any]:
    return [value for rows in batches for value in as_text(rows.batch.column(name)).to_pylist()]


def test_a_category_is_the_same_in_each_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK", 200)
    lines = ['{"c": 1.0}'] * 50 + ['{"c": "x"}'] + ['{"c": 1}'] * 50 + ['{"c": true}', '{"c": 0.5}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert values(rows_of(tmp_path, ["c"]), "c") == ["1"] * 50 + ["x"] + ["1"] * 50 + ["true", "0.5"]


def test_integers_are_exact_to_64_bits_and_beyond(tmp_path: Path) -> None:
    integers = [(1 << 64) - 1, 12345678901234567890, 9007199254740993, -(1 << 63), 1 << 70]
    for beside in ([], [1.5], ["x"]):
        lines = [json.dumps({"c": value}) for value in [*integers, *beside]]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
        assert values(rows_of(tmp_path, ["c"]), "c")[:5] == [str(value) for value in integers]


def test_a_member_may_begin_after_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK", 100)
    path = tmp_path / "a.jsonl"
    path.write_text('{"k": 1}\n' * 50 + '{"k": 2, "late": "a"}\n' * 3 + '{"k": 3, "la\\u0074e": "b"}\n')
    assert JsonLinesSource().columns(str(path)) == [("k", pa.int64())]
    assert JsonLinesSource().columns(str(path), ["late", "never"]) == [("k", pa.int64()), ("late", pa.string())]
    assert values(rows_of(path, ["k", "late"]), "late") == [None] * 50 + ["a"] * 3 + ["b"]


def test_half_a_surrogate_pair_and_bytes_that_are_not_utf8_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"c": "a"}\n{"c": "\\ud800"}\n{"c": "\xff"}\n{"c": "\\ud83d\\ude00"}\n{"c": "\xed\xa0\x80"}\n')
    (rows,) = rows_of(path, ["c"])
    assert values([rows], "c") == ["a", "\N{GRINNING FACE}"]
    assert rows.numbers.tolist() == [1, 4]
    assert [row.row for row in rows.refused] == [2, 3, 5]


def test_a_list_among_numbers_and_a_number_among_lists_are_values_of_their_rows(tmp_path: Path) -> None:
    lines = ['{"n": 1, "v": [1, 2.5]}', '{"n": [1], "v": 7}', '{"n": 2, "v": [9007199254740993, 1]}']
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, ""]))
    (rows,) = rows_of(tmp_path, ["n", "v"])
    assert rows.batch.column("n").to_pylist() == ["1", "[1]", "2"]
    assert rows.batch.column("v").to_pylist() == ["[1, 2.5]", "7", "[9007199254740993, 1]"]


@pytest.mark.parametrize("batch_rows", [1, 4096])
@pytest.mark.parametrize("odd", ["[[1]]", '{"a": 1}', "7", '"x"'])
def test_a_value_of_another_shape_is_text_whatever_batch_it_is_in(tmp_path: Path, odd: str, batch_rows: int) -> None:
    # A last line without its end is read alone.
    (tmp_path / "a.jsonl").write_text("\n".join([*['{"v": [1, 2.5]}'] * 30, f'{{"v": {odd}}}']))
    found = [value for rows in rows_of(tmp_path, ["v"], batch_rows) for value in rows.batch.column("v").to_pylist()]
    assert found[-1] == odd.strip('"')
    assert all(value in ([1, 2.5], "[1, 2.5]") for value in found[:-1])


def test_an_empty_list_tells_nothing_of_the_depth(tmp_path: Path) -> None:
    lists: list[Any] = [[], [[1]], [[2, 3]], []]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"v": value}) for value in lists))
    for batch_rows in (1, 4096):
        batches = rows_of(tmp_path, ["v"], batch_rows)
        assert [value for rows in batches for value in rows.batch.column("v").to_pylist()] == lists


def test_depth_and_number_of_members_that_nobody_reads_cost_nothing(tmp_path: Path) -> None:
    deep = '{"k": 2, "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"
    wide = '{"k": 3, ' + ", ".join(f'"m{n}": {n}' for n in range(20_000)) + "}"
    odd = '{"k": "x", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path = tmp_path / "a.jsonl"
    for last, expected in (([], ["1", "2", "3"]), ([odd], ["1", "2", "3", "x"])):
        path.write_text("\n".join(['{"k": 1}', deep, wide, *last]))
        assert values(rows_of(path, ["k"]), "k") == expected


def test_a_line_has_a_maximum_length_and_line_feeds_cost_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_lines, "MAXIMUM_LINE", 1 << 21)
    (tmp_path / "line.jsonl.gz").write_bytes(gzip.compress(b'{"k": "' + b"x" * (8 << 20) + b'"}'))
    with pytest.raises(UnreadableFile, match="a row is too long"):
        rows_of(tmp_path / "line.jsonl.gz", ["k"])
    (tmp_path / "feeds.jsonl.gz").write_bytes(gzip.compress(b'{"k": 1}' + b"\n" * (8 << 20) + b'{"k": 2}\r\n\r\n \n'))
    assert values(rows_of(tmp_path / "feeds.jsonl.gz", ["k"]), "k") == ["1", "2"]


def test_too_many_different_members_are_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(f'{{"member {n}": 1}}' for n in range(20_000)))
    with pytest.raises(UnreadableFile, match="too many different members"):
        JsonLinesSource().columns(str(tmp_path / "a.jsonl"))


def test_an_array_of_objects_on_any_lines_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK", 16)
    table = [{"k": n, "c": f"ä ]}} {n}"} for n in range(20)]
    for indent in (None, 2):
        (tmp_path / "a.json").write_text("\ufeff " + json.dumps(table, indent=indent, ensure_ascii=False))
        batches = rows_of(tmp_path, ["k", "c"])
        assert [row for rows in batches for row in rows.batch.to_pylist()] == table
        assert [int(number) for rows in batches for number in rows.numbers] == list(range(1, 21))


@pytest.mark.parametrize("content", ['[{"k": 1}, {"k": ', '[{"k": 1} x]', "[" * 100_000, '[{"k": 1}'])
def test_an_array_that_is_none_is_a_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UnreadableFile, match="begins as an array"):
        rows_of(tmp_path, ["k"])


def test_a_long_number_or_a_deep_member_of_an_array_costs_its_row_at_most(tmp_path: Path) -> None:
    digits, deep = "7" * 5000, "[" * 20_000 + '"]"' + "]" * 20_000
    rows = ['{"k": "a"}', f'{{"k": {digits}}}', f'{{"k": "b", "unused": {digits}}}', f'{{"unused": {deep}, "k": "c"}}']
    for name, content in (("a.json", f"[{', '.join(rows)}]"), ("a.jsonl", "\n".join(rows))):
        path = tmp_path / name
        path.write_text(content)
        found = rows_of(path, ["k"])
        assert values(found, "k") == ["a", "b", "c"]
        assert [(row.row, row.fault.reason) for rows in found for row in rows.refused] == [(2, "malformed_row")]
    (tmp_path / "a.json").write_text(f'[{{"u": {"[" * 3000}{"[]," * 400_000}')
    with pytest.raises(UnreadableFile, match="nested too deeply, and has more than 1 MiB"):
        rows_of(tmp_path / "a.json", ["k"])
    (tmp_path / "a.json").write_text(f"[{rows[0]}, {rows[3][:-3]}")
    with pytest.raises(UnreadableFile, match=r"begins as an array.*a value does not end"):
        rows_of(tmp_path / "a.json", ["k"])


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    for content in ("", "\n\n", "[]", " [ ] "):
        (tmp_path / "a.json").write_text(content)
        parts = list_parts(str(tmp_path))
        with pytest.raises(EmptyFile):
            JsonLinesSource().columns(parts[0].path, ["k"])
        assert rows_of(tmp_path, ["k"]) == []
        assert expected_rows(parts) == 1


_LINES = [b'{"a": 1}', b'{"b": "x y"}', b"", b" ", b"\t ", b'  {"a": 2}', b"\r", b'{"a": 3}\r']


@given(lines=st.lists(st.sampled_from(_LINES), max_size=30), end=st.booleans(), size=st.integers(1, 40))
def test_blocks_hold_each_line_that_is_not_blank(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bool, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    content = b"\n".join(lines) + b"\n" * end
    path.write_bytes(content)
    blocks = list(line_blocks(str(path), size))
    found = [line for block in blocks for line in block.split]
    assert [line.strip() for line in found] == [line.strip() for line in content.splitlines() if line.strip()]
    assert [block.count for block in blocks] == [len(block.split) for block in blocks]
