"""Text of Parquet that is not UTF-8 costs its row, which is named with its column, however it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.values.columns import logical

WORDS = [b"a", b"\xff\xfe", b"", None, b"c\xc3(d", b"a"]


def texts_of(kind: pa.DataType, values: list[bytes | None]) -> pa.Array:
    """Bytes that are called text."""
    held = pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
    return pa.array(values, held).view(kind)


def read(path: Path, columns: list[str], batch_rows: int = 100) -> tuple[dict[str, list[Any]], list[int], list[Any]]:
    values: dict[str, list[Any]] = {name: [] for name in columns}
    numbers: list[int] = []
    refused: list[Any] = []
    for part in list_parts(str(path)):
        for rows in read_part(part, columns, batch_rows, columns):
            rows.batch.validate(full=True)
            assert rows.batch.num_rows == len(rows.numbers)
            numbers += rows.numbers.tolist()
            refused += rows.refused
            for name in columns:
                values[name] += logical(rows.batch[name]).to_pylist()
    return values, numbers, refused


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(("batch_rows", "group"), [(1, 6), (2, 3), (4, 2), (100, 6)])
def test_text_that_is_not_utf8_costs_its_row(
    tmp_path: Path, kind: pa.DataType, dictionary: bool, batch_rows: int, group: int
) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"t": texts_of(kind, WORDS), "n": range(6)})
    pq.write_table(table, path, use_dictionary=dictionary, row_group_size=group)
    values, numbers, refused = read(path, ["t", "n"], batch_rows)
    assert values == {"t": ["a", "", None, "a"], "n": [0, 2, 3, 5]}
    assert numbers == [1, 3, 4, 6]
    assert [(row.file, row.row, row.fault.column, row.fault.reason, row.fault.message) for row in refused] == [
        ("a.parquet", 2, "t", "not_utf8", "t is not UTF-8: b'\\xff\\xfe'"),
        ("a.parquet", 5, "t", "not_utf8", "t is not UTF-8: b'c\\xc3(d'"),
    ]
    assert [row.values for row in refused] == [{"t": "\\xff\\xfe", "n": 1}, {"t": "c\\xc3(d", "n": 4}]
    # A column that nobody reads costs nothing.
    assert read(path, ["n"], batch_rows) == ({"n": list(range(6))}, [1, 2, 3, 4, 5, 6], [])


def test_a_dictionary_with_words_that_are_not_utf8(tmp_path: Path) -> None:
    words = texts_of(pa.string(), [b"a", b"\xff", b"b"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2, 1], pa.int32()), words)
    pq.write_table(pa.table({"t": column}), tmp_path / "a.parquet")
    values, numbers, refused = read(tmp_path / "a.parquet", ["t"])
    assert (values["t"], numbers, [row.row for row in refused]) == (["a", None, "b"], [1, 3, 4], [2, 5])
    assert [row.values for row in refused] == [{"t": "\\xff"}] * 2


def test_all_rows_of_a_batch_may_be_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": texts_of(pa.string(), [b"\xff"] * 5 + [b"a"])}), tmp_path / "a.parquet")
    values, numbers, refused = read(tmp_path / "a.parquet", ["t"], 2)
    assert (values, numbers, [row.row for row in refused]) == ({"t": ["a"]}, [6], [1, 2, 3, 4, 5])


def test_text_within_other_values(tmp_path: Path) -> None:
    inner = texts_of(pa.string(), [b"a", b"b", b"\xff", b"c"])
    column = pa.ListArray.from_arrays(pa.array([0, 2, 3, 3, 4], pa.int32()), inner)
    records = pa.StructArray.from_arrays([texts_of(pa.string(), [b"a", b"b", b"c", b"\xfe"])], ["x"])
    pq.write_table(pa.table({"t": column, "r": records, "n": range(4)}), tmp_path / "a.parquet")
    values, numbers, refused = read(tmp_path / "a.parquet", ["n", "t", "r"])
    assert values == {"n": [0, 2], "t": [["a", "b"], []], "r": [{"x": "a"}, {"x": "c"}]}
    assert numbers == [1, 3]
    assert [(row.row, row.fault.column, row.fault.message) for row in refused] == [
        (2, "t", "t is not UTF-8: b'\\xff'"),
        (4, "r", "r is not UTF-8: b'\\xfe'"),
    ]
    assert [row.values for row in refused] == [
        {"n": 1, "t": None, "r": {"x": "b"}},
        {"n": 3, "t": ["c"], "r": None},
    ]


def test_a_source_without_such_text_is_as_before(tmp_path: Path) -> None:
    table = pa.table({"t": ["a", None], "l": [[1], None], "m": [{"x": "y"}, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert source_of("a.parquet").columns(str(tmp_path / "a.parquet"))[0] == ("t", pa.string())
    values, numbers, refused = read(tmp_path / "a.parquet", ["t", "l", "m"])
    assert (values, numbers, refused) == (table.to_pydict(), [1, 2], [])
