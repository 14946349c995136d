"""Logged batches: exact through JSON and through Parquet, whatever their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.parquet import convert
from headrace.components.request_log.read import read_batches
from headrace.core.errors import DataError, UsageError

# Parquet has no NaN among missing numbers, and infinite ones are numbers.
_NUMBERS = st.sampled_from(["float32", "float64", "int32", "int64", "uint64", "uint8", "bool"])
_TEXT = st.text(st.characters(codec="utf-8"), max_size=5)


def ragged(*rows: list[float]) -> np.ndarray[Any, Any]:
    column = np.empty(len(rows), object)
    column[:] = [np.array(row, np.float32) for row in rows]
    return column


def same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Whether dtype, shape and every bit are the same; for objects, every element."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype != object:
        return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
    pairs = zip(left.ravel(), right.ravel(), strict=True)
    return all(same(a, b) if isinstance(a, np.ndarray) else type(a) is type(b) and a == b for a, b in pairs)


def assert_same(left: LoggedBatch, right: LoggedBatch) -> None:
    assert (left.version, left.time) == (right.version, right.time)
    for ours, theirs in ((left.columns, right.columns), (left.predictions, right.predictions)):
        assert list(ours) == list(theirs)
        assert [name for name in ours if not same(ours[name], theirs[name])] == []


@st.composite
def batches(draw: st.DrawFn) -> LoggedBatch:
    rows = draw(st.integers(1, 5))

    def column() -> np.ndarray[Any, Any]:
        if draw(st.booleans()):
            return np.array(draw(st.lists(_TEXT, min_size=rows, max_size=rows)), object)
        shape = draw(st.sampled_from([(rows,), (rows, 3), (rows, 2, 2)]))
        return draw(hnp.arrays(draw(_NUMBERS), shape))

    names = draw(st.lists(_TEXT, min_size=1, max_size=4, unique=True))
    columns = {name: column() for name in names}
    # Microseconds, as in Parquet.
    return LoggedBatch(columns, {"predictions": column()}, draw(_TEXT), draw(st.integers(1, 10**15)) / 1e6)


@given(batches())
def test_a_line_of_json_is_exact(batch: LoggedBatch) -> None:
    assert_same(LoggedBatch.from_line(batch.to_line(), "file"), batch)


@given(batches())
def test_parquet_is_exact(tmp_path_factory: pytest.TempPathFactory, batch: LoggedBatch) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "requests-1.jsonl").write_bytes(batch.to_line() + batch.to_line())
    (path,) = convert(RequestLogConfig(str(folder)))
    assert path.name == "requests-1.0.parquet"
    (read,) = read_batches(str(folder))
    assert read.rows == 2 * batch.rows
    for half in (np.arange(batch.rows), np.arange(batch.rows) + batch.rows):
        assert_same(read.take(half), batch)


def test_bytes_and_lists_of_several_lengths_are_exact(tmp_path: Path) -> None:
    columns = {
        "bytes": np.array([b"\xff\x00", b""], object),
        "lists": ragged([1.5], []),
        "empty": ragged([], []),
        "texts": np.array([["a", ""], ["ü", "b"]], object),
    }
    batch = LoggedBatch(columns, {"b64": np.array([[0.5], [math.nan]], np.float32)}, "v1", 1.5)
    assert_same(LoggedBatch.from_line(batch.to_line(), "file"), batch)
    (tmp_path / "requests-1.jsonl").write_bytes(batch.to_line())
    convert(RequestLogConfig(str(tmp_path)))
    (read,) = read_batches(str(tmp_path))
    assert_same(read, batch)


def test_rows_and_size_and_some_of_the_rows() -> None:
    batch = LoggedBatch({"x": np.arange(3, dtype=np.float32)}, {"p": np.array(["a", "b", "c"], object)}, "v1", 1.0)
    assert (batch.rows, batch.size) == (3, 12 + 8 * 24)
    assert batch.take(np.array([0, 2])).predictions["p"].tolist() == ["a", "c"]
    assert LoggedBatch({}, {}, "v1", 1.0).rows == 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"time":1,"version":"v"}',
        b'{"time":1,"version":"v","columns":{"x":["float32",[1,2]]},"predictions":{"p":["float32",[1]]}}',
        b'{"time":1,"version":"v","columns":{"x":["float32",["a"]]},"predictions":{"p":["float32",[1]]}}',
        b'{"time":1,"version":"v","columns":{"x":["float33",[1]]},"predictions":{"p":["float32",[1]]}}',
    ],
)
def test_a_damaged_line_is_one_paragraph(line: bytes) -> None:
    with pytest.raises(DataError, match=r"requests-1\.jsonl, line 7: a line of the request log is damaged"):
        LoggedBatch.from_line(line, "requests-1.jsonl, line 7")


@pytest.mark.parametrize(
    "wrong",
    [{"share": 1.1}, {"share": -0.1}, {"queue_bytes": 0}, {"file_bytes": 0}, {"file_s": 0.0}, {"folder_bytes": -1}],
)
def test_options_check_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RequestLogConfig("folder", **wrong)
    assert RequestLogConfig("gs://bucket/log").share == 0.1
