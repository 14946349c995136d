"""Statistics that were written and read back are the same, merge to the same bytes, and are never taken for others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.statistics import measure as statistics
from headrace.core.statistics.file import from_bytes, to_bytes
from headrace.core.statistics.measure import TableStatistics, merge_all

ROWS = st.lists(
    st.tuples(st.none() | st.floats(-1e6, 1e6, width=32), st.none() | st.text(max_size=3)), min_size=0, max_size=20
)


def measure(rows: list[tuple[float | None, str | None]]) -> TableStatistics:
    numbers, texts = ([row[place] for row in rows] for place in (0, 1))
    table = pa.table({"x": pa.array(numbers, pa.float32()), "kind": pa.array(texts, pa.string())})
    return TableStatistics.measure(table, ["x", "kind"])


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_written_and_read_they_merge_to_the_same(parts: list[list[tuple[float | None, str | None]]]) -> None:
    measured = [measure(rows) for rows in parts]
    read = [from_bytes(to_bytes(part)) for part in measured]
    assert to_bytes(merge_all(read)) == to_bytes(merge_all(measured))
    assert merge_all(read).to_json() == merge_all(measured).to_json()


def test_sketches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "VOCABULARY_CAPACITY", 1024)
    random = np.random.default_rng(3)
    table = pa.table({"x": random.normal(size=50_000), "kind": [str(n) for n in random.zipf(1.3, 50_000).tolist()]})
    parts = [TableStatistics.measure(table.slice(start, 10_000), ["x", "kind"]) for start in range(0, 50_000, 10_000)]
    contents = [to_bytes(part) for part in parts]
    assert max(map(len, contents)) < 250_000
    merged = merge_all([from_bytes(content) for content in contents])
    assert to_bytes(merged) == to_bytes(merge_all(parts))
    told = merged.to_json()["columns"]
    assert told["x"]["error"] == {"quantile_rank": 0.005}
    assert told["kind"]["complete"] is False
    assert told["kind"]["error"]["distinct"] == pytest.approx(0.0244, abs=1e-4)


@pytest.mark.parametrize("content", [b"", b"ARROW1", to_bytes(measure([(1.0, "a")]))[:-9]])
def test_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="not statistics that can be merged"):
        from_bytes(content)


def test_another_format_is_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("name", pa.string())])):
        pass
    with pytest.raises(DataError, match="unsupported format version"):
        from_bytes(sink.getvalue().to_pybytes())
