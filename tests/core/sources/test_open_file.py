"""Blanks in a file of text: they are bounded wherever they are, and cost no more than to be skipped."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import EmptyFile, UnreadableFile
from headrace.core.sources import open_file
from headrace.core.sources.csv import reader
from headrace.core.sources.csv.reader import CsvSource
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.jsonl_lines import _lines
from headrace.core.sources.open import list_parts, read_part, source_of

MIB = 1 << 20
# The rows of a file of each format: what comes before them, one of them, and what follows all of them.
ROWS = {
    "a.jsonl": (b"", b'{"id": 1}\n', b""),
    "a.json": (b'[{"id": 1}', b',{"id": 1}', b"]"),
    "a.csv": (b"id,n\n", b"1,2\n", b""),
}
BLANKS = [b"\n", b"\r\n", b" \t\n", b" "]


def read(path: Path) -> int:
    return sum(rows.count for part in list_parts(str(path)) for rows in read_part(part, ["id"], 100))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz"])
@pytest.mark.parametrize("blank", [b"\n", b" ", b"\r\n"])
def test_a_file_of_blanks_is_empty_up_to_a_bound(tmp_path: Path, name: str, blank: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(blank * 1000))
    with pytest.raises(EmptyFile):
        source_of(str(path)).columns(str(path))
    path.write_bytes(gzip.compress(blank * (20 * MIB)))
    with pytest.raises(UnreadableFile, match="the file has too many blanks"):
        source_of(str(path)).columns(str(path))


def test_rows_after_many_blank_lines_are_read_or_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n" * (3 * MIB) + b'{"id": 1}\n{"id": 2}\n')
    assert read(tmp_path / "a.jsonl") == 2
    (tmp_path / "a.csv").write_bytes(b"\n" * (3 * MIB) + b"id\n1\n2\n")
    with pytest.raises(UnreadableFile, match="the file is not CSV"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("tail", [False, True])
def test_blanks_are_bounded_after_rows_too(tmp_path: Path, name: str, blank: bytes, tail: bool) -> None:
    begin, row, end = ROWS[name]
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(begin + row * 10 + blank * (20 * MIB // len(blank)) + row * tail + end, 1))
    with pytest.raises(UnreadableFile) as caught:
        read(path)
    assert (caught.value.what, caught.value.where) == ("the file has too many blanks", str(path))
    assert caught.value.expected == "at most 16 MiB of them in runs of 1 MiB or more"


@pytest.mark.parametrize("blank", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("name", "count"), [("a.jsonl", 3), ("a.json", 4), ("a.csv", 3)])
def test_fewer_blanks_than_the_bound_are_skipped(tmp_path: Path, name: str, count: int, blank: bytes) -> None:
    begin, row, end = ROWS[name]
    run = blank * (3 * MIB // len(blank))
    (tmp_path / name).write_bytes(begin + row + run + row + run + row + run + end)
    assert read(tmp_path / name) == count


def test_long_runs_are_added_up(tmp_path: Path) -> None:
    begin, row, _ = ROWS["a.jsonl"]
    path = tmp_path / "a.jsonl"
    path.write_bytes(begin + (row + b"\n" * (4 * MIB - 1)) * 4)
    assert read(path) == 4
    path.write_bytes(begin + (row + b"\n" * (4 * MIB - 1)) * 5)
    with pytest.raises(UnreadableFile, match="too many blanks"):
        read(path)
    # Shorter runs are a part of lines that any file may have.
    path.write_bytes(begin + (row + b"\n" * (MIB - 20)) * 20)
    assert read(path) == 20


class Endless(io.RawIOBase):
    """A file that never ends; it counts what was read."""

    def __init__(self, begin: bytes, fill: bytes) -> None:
        self.begin, self.fill, self.count = begin, fill, 0

    def read(self, size: int = -1, /) -> bytes:
        self.count += size
        content, self.begin = self.begin, b""
        return (content + self.fill * (size // len(self.fill) + 1))[:size]


@pytest.mark.parametrize("size", [16, 1000, MIB, 3 * MIB])
@pytest.mark.parametrize("begin", [b"", b"a row\n"])
def test_too_many_blanks_are_found_before_any_of_them_is_returned(begin: bytes, size: int) -> None:
    file = Endless(begin, b" \n")
    text = open_file.TextBytes(file, "a.csv", "utf-8")
    returned = 0
    with pytest.raises(UnreadableFile, match="too many blanks"):
        while content := text.read(size):
            returned += len(content)
    assert returned <= 3 * MIB
    assert file.count <= 20 * MIB


def test_blanks_have_the_bytes_of_the_encoding(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-32", "cp500"):
        path = tmp_path / "a.csv"
        path.write_bytes(("id\n" + "1\n" * 3 + "\n" * (20 * MIB)).encode(encoding))
        with pytest.raises(UnreadableFile, match="too many blanks"):
            list(CsvSource(CsvDialect(encoding=encoding)).read(str(path), ["id"], 100))


@given(st.lists(st.sampled_from([b"a", b" ", b"\n", b"\n\n", b"bc d", b"\t"]), max_size=40), st.data())
def test_all_bytes_are_returned_in_the_sizes_that_are_requested(parts: list[bytes], data: st.DataObject) -> None:
    content = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_file, "_LONG_RUN", 4)
        text = open_file.TextBytes(io.BytesIO(content), "a.csv", "utf-8")
        at = 0
        while at < len(content):
            size = data.draw(st.integers(1, 9))
            assert text.read(size) == content[at : at + size]
            at += size
        assert text.read(5) == b""
        assert open_file.TextBytes(io.BytesIO(content), "a.csv", "utf-8").read() == content


@given(
    st.lists(st.sampled_from([b"{}", b" ", b"\n", b"\r\n", b"\r", b" {}", b"\n" * 40, b"\x0b", b"\x01"]), max_size=60)
)
def test_lines_without_text_are_left_out_however_many_there_are(parts: list[bytes]) -> None:
    content = b"".join(parts) + b"\n"
    expected = [line for line in content.splitlines(keepends=True) if not line.isspace()]
    assert _lines(content).split == expected


def test_rows_refused_one_after_another_are_passed_on_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column of blanks for a table of two would otherwise be in memory until its end."""
    monkeypatch.setattr(reader, "BLOCK", 4096)
    count = 20_000
    (tmp_path / "a.csv").write_bytes(b"id,n\n" + b"1,2\n" * 3 + b"x\n" * count + b"4,5\n" + b" \n" * 10 + b"6,7\n")
    (part,) = list_parts(str(tmp_path / "a.csv"))
    numbers: list[int] = []
    rows_at_once = 0
    for rows in read_part(part, ["id", "n"], 100):
        numbers += [*rows.numbers.tolist(), *(row.row for row in rows.refused)]
        rows_at_once = max(rows_at_once, rows.count)
        if rows.batch.num_rows:
            values = dict(zip(rows.numbers.tolist(), rows.batch["id"].to_pylist(), strict=True))
    assert np.array_equal(np.sort(numbers), np.arange(1, count + 16))
    assert values == {count + 4: "4", count + 15: "6"}
    assert rows_at_once <= 2 * 4096 + 100
