"""CSV and Parquet files, and what is told about those that are not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError, EmptyFile
from headrace.core.sources.csv import reader
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.sources.source import Part, Rows


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> Part:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Part(0, str(path))


def flat(batches: list[Rows]) -> list[tuple[int, dict[str, str]]]:
    return [
        (number, row)
        for rows in batches
        for number, row in zip(rows.numbers.tolist(), rows.batch.to_pylist(), strict=True)
    ]


def test_rows_are_numbered_past_those_refused(tmp_path: Path) -> None:
    part = write(tmp_path, 'k,a\n1,x\n\n2\n3,"multi\nline, ""quoted"""\n4,y,z\n5,\n6\n7\n')
    batches = list(read_part(part, ["a", "k"], 8192))
    assert flat(batches) == [
        (1, {"a": "x", "k": "1"}),
        (3, {"a": 'multi\nline, "quoted"', "k": "3"}),
        (5, {"a": None, "k": "5"}),
    ]
    refused = [row for rows in batches for row in rows.refused]
    assert [(row.row, row.fault.reason, dict(row.values)) for row in refused] == [
        (2, "too_few_fields", {"k": "2"}),
        (4, "too_many_fields", {"k": "4", "a": "y"}),
        (6, "too_few_fields", {"k": "6"}),
        (7, "too_few_fields", {"k": "7"}),
    ]
    assert refused[0].fault.message == "the row has 1 fields where the header has 2"
    assert sum(rows.count for rows in batches) == 7


@given(good=st.lists(st.booleans(), min_size=1, max_size=60), batch_rows=st.integers(1, 20))
@max_examples(60)
def test_every_row_comes_once_with_its_number(
    tmp_path_factory: pytest.TempPathFactory, good: list[bool], batch_rows: int
) -> None:
    lines = ["k,a", *(f"{number},x" if right else str(number) for number, right in enumerate(good, 1))]
    part = write(tmp_path_factory.mktemp("csv"), "\n".join(lines))
    batches = list(read_part(part, ["k"], batch_rows))
    numbers = [(number, int(row["k"])) for number, row in flat(batches)]
    refused = [(row.row, int(str(row.values["k"]))) for rows in batches for row in rows.refused]
    assert sorted(numbers + refused) == [(number, number) for number in range(1, len(good) + 1)]
    assert len(refused) == good.count(False)
    assert [rows.position for rows in batches] == sorted({rows.position for rows in batches})
    assert all(rows.batch.num_rows <= batch_rows for rows in batches)


def test_rows_refused_far_apart_over_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 256)
    lines = ["k,a", *(f"{number},x" if number % 97 else str(number) for number in range(1, 3001))]
    batches = list(read_part(write(tmp_path, "\n".join(lines)), ["k"], 50))
    assert len(batches) > 60
    assert all(int(row["k"]) == number for number, row in flat(batches))
    assert [row.row for rows in batches for row in rows.refused] == list(range(97, 3001, 97))


def test_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    for content in (b"\xef\xbb\xbfk,a\r\n1,x\r\n", b"k,a\r1,x\r", b"\nk,a\n1,x"):
        part = write(tmp_path, content)
        assert [name for name, _ in source_of(part.path).columns(part.path)] == ["k", "a"]
        assert flat(list(read_part(part, ["k", "a"], 10))) == [(1, {"k": "1", "a": "x"})]


def test_a_refused_row_longer_than_pythons_csv_takes(tmp_path: Path) -> None:
    (rows,) = read_part(write(tmp_path, f"k,a\n1,2\n{'x' * 200_000}\n3,4\n"), ["k"], 10)
    assert (rows.numbers.tolist(), rows.refused[0].row, rows.refused[0].values) == ([1, 3], 2, {"k": "x" * 200_000})


def test_parquet_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"b": range(25), "a": ["x"] * 25, "unused": [0.0] * 25}), path, row_group_size=10)
    batches = list(read_part(Part(0, str(path)), ["a", "b"], 10))
    assert flat(batches) == [(number + 1, {"a": "x", "b": number}) for number in range(25)]
    assert batches[0].batch.schema.names == ["a", "b"]
    assert [rows.batch.num_rows for rows in batches] == [10, 10, 5]
    assert source_of(str(path)).expected_rows(str(path)) == 25


def test_rows_expected_of_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 1000)
    part = write(tmp_path, "k\n" + "1234\n" * 5000)
    assert source_of(part.path).expected_rows(part.path) == pytest.approx(5000, rel=0.02)


@pytest.mark.parametrize(
    ("content", "what", "where", "received"),
    [
        (b"k,a\n1,caf\xe9\n", "the file is not UTF-8", "data.csv, line 2", "byte 0xe9 at offset 9"),
        ("k,a\n1,2\n".encode("utf-16"), "the file is not UTF-8", "data.csv", "UTF-16"),
    ],
)
def test_files_that_are_not_csv(tmp_path: Path, content: bytes, what: str, where: str, received: str) -> None:
    part = write(tmp_path, content)
    with pytest.raises(DataError) as error:
        list(read_part(part, ["k"], 10))
    assert (error.value.what, error.value.where, error.value.received) == (what, f"{tmp_path}/{where}", received)


@pytest.mark.parametrize("content", [b"", b" \n\r\n"])
def test_an_empty_file_has_no_columns_and_no_rows(tmp_path: Path, content: bytes) -> None:
    part = write(tmp_path, content)
    with pytest.raises(EmptyFile, match="the file is empty"):
        source_of(part.path).columns(part.path)
    assert list(read_part(part, ["k"], 10)) == []
    assert source_of(part.path).expected_rows(part.path) == 0


def test_a_late_byte_that_is_not_utf8_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 512)
    part = write(tmp_path, b"k,a\n" + "1,ä\n".encode() * 1000 + b"2,\xff\n")
    with pytest.raises(DataError) as error:
        list(read_part(part, ["k", "a"], 10))
    assert error.value.where == f"{part.path}, line 1002"
    assert error.value.received == "byte 0xff at offset 5006"


def test_a_quote_that_is_never_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 512)
    part = write(tmp_path, 'k,a\n1,"x\n' + "2,y\n" * 1000)
    with pytest.raises(DataError, match="not CSV, or is damaged") as error:
        list(read_part(part, ["k"], 10))
    assert error.value.expected == "rows of at most 512 bytes, with every quote closed"


def test_damaged_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(1000)}), tmp_path / "right.parquet")
    whole = (tmp_path / "right.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-50], whole[:100] + b"\xff" * 900 + whole[1000:]):
        part = write(tmp_path, content, "data.parquet")
        with pytest.raises(DataError, match=r"data\.parquet: the file is not Parquet, or is damaged"):
            list(read_part(part, ["a"], 10))


def test_files_are_found_in_order_and_others_refused(tmp_path: Path) -> None:
    for name in ("b.csv", "a.parquet", "_ignored.csv", "notes.txt"):
        (tmp_path / name).write_bytes(b"k\n1\n")
    assert [(part.index, part.name) for part in list_parts(str(tmp_path))] == [(0, "a.parquet"), (1, "b.csv")]
    assert [part.name for part in list_parts(f"{tmp_path}/b*.csv")] == ["b.csv"]
    with pytest.raises(DataError, match="format is not supported") as error:
        list_parts(str(tmp_path / "notes.txt"))
    assert str(error.value.expected).startswith("a name ending in .csv, .tsv, .parquet, ")
    assert error.value.received == ".txt"
