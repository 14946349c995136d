"""The search for a batch size, against a clock that a model of costs turns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from headrace.components.score.batch.batcher import SAMPLES, BatchLimits, BatchSizer, split
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.errors import UsageError
from headrace.core.sources.source import Part, Rows


class Clock:
    """Seconds that only pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(limits: BatchLimits, seconds: Callable[[int], float], row_bytes: int = 100) -> tuple[BatchSizer, list[int]]:
    """The batcher once it has settled, and the size of each batch until then."""
    clock = Clock()
    batcher = BatchSizer(limits, clock)
    sizes: list[int] = []
    while not batcher.settled and len(sizes) < 1000:
        sizes.append(batcher.rows)
        with batcher.measuring(batcher.rows, batcher.rows * row_bytes):
            clock.now += seconds(sizes[-1])
    return batcher, sizes


def test_it_grows_while_a_row_gets_cheaper() -> None:
    # A fixed cost of 10 ms a call: each doubling saves some, the last one less than is worth it.
    batcher, sizes = run(BatchLimits(largest=1 << 20), lambda rows: 0.01 + rows * 1e-6)
    each = SAMPLES + 1
    assert sizes == [16_384] * each + [32_768] * each + [65_536] * each + [131_072] * each + [262_144] * each
    assert batcher.rows == 131_072
    assert batcher.costs[16_384] == pytest.approx(1610.35, abs=0.01)


def test_it_stops_at_the_cap_of_the_user() -> None:
    batcher, sizes = run(BatchLimits().capped(20_000), lambda rows: 0.01 + rows * 1e-6)
    # It cannot double, so it looks below, and stays.
    assert sorted(set(sizes)) == [8_192, 16_384]
    assert batcher.rows == 16_384


def test_a_cap_below_the_start_is_the_start() -> None:
    assert BatchLimits().capped(100) == BatchLimits(start=100, smallest=100, largest=100)
    assert BatchSizer(BatchLimits().capped(100)).settled


def test_it_shrinks_while_a_row_gets_cheaper() -> None:
    # What does not fit into a cache of 4,096 rows costs three times as much.
    batcher, _ = run(BatchLimits(), lambda rows: rows * (1e-6 if rows <= 4_096 else 2e-6 * rows / 8_192))
    assert batcher.rows == 4_096
    assert list(batcher.costs) == [2_048, 4_096, 8_192, 16_384, 32_768]


def test_noise_moves_nothing() -> None:
    noise = iter([1.0, 1.03, 0.98, 1.01] * 100)
    batcher, _ = run(BatchLimits(), lambda rows: rows * 1e-6 * next(noise))
    assert batcher.rows == 16_384


def test_the_first_batch_of_a_size_does_not_count() -> None:
    seen: set[int] = set()

    def seconds(rows: int) -> float:
        first = rows not in seen
        seen.add(rows)
        return 0.01 + rows * 1e-6 + first * 0.5

    batcher, _ = run(BatchLimits(), seconds)
    assert batcher.rows == 65_536


def test_a_batch_that_takes_too_long_is_halved_and_not_tried_again() -> None:
    batcher, sizes = run(BatchLimits(seconds=1.0), lambda rows: rows * 1e-3)
    assert sizes[:5] == [16_384, 8_192, 4_096, 2_048, 1_024]
    assert max(sizes[5:]) == 512
    assert batcher.rows == 512


def test_it_does_not_grow_into_too_much_time_or_memory() -> None:
    _, sizes = run(BatchLimits(seconds=0.03), lambda rows: 0.002 + rows * 1e-6)
    assert max(sizes) == 16_384
    _, sizes = run(BatchLimits(bytes=20_000 * 1_000), lambda rows: 0.01 + rows * 1e-6, row_bytes=1_000)
    assert max(sizes) == 16_384


def test_a_batch_of_too_much_memory_is_halved_even_when_the_search_is_over() -> None:
    batcher, _ = run(BatchLimits(bytes=1 << 20), lambda rows: rows * 1e-6, row_bytes=10)
    assert batcher.settled
    size = batcher.rows
    batcher.measured(size, size, 0.001, 2 << 20)
    assert batcher.rows == size // 2


def test_short_batches_and_those_of_an_earlier_size_say_nothing() -> None:
    batcher = BatchSizer(BatchLimits(), Clock())
    for _ in range(20):
        batcher.measured(16_384, 700, 0.5, 1_000)
        batcher.measured(8_192, 8_192, 0.5, 1_000)
        batcher.measured(16_384, 0, 0.5, 0)
    assert batcher.rows == 16_384
    assert batcher.costs == {}


def test_a_batch_that_fails_is_not_measured() -> None:
    batcher = BatchSizer(BatchLimits(), Clock())
    for _ in range(20):
        with pytest.raises(OSError, match="gone"), batcher.measuring(16_384, 1):
            raise OSError("gone")
    assert batcher.costs == {}


@pytest.mark.parametrize("bounds", [{"smallest": 0}, {"start": 1 << 20}, {"seconds": 0}, {"bytes": 0}])
def test_bounds_are_checked(bounds: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="the bounds of a batch are wrong"):
        BatchLimits(**bounds)


def test_rows_are_split_with_those_refused_between_them() -> None:
    part = Part(0, "rows.csv")
    refused = tuple(QuarantinedRow("rows.csv", n, Fault(None, "malformed_row", ""), {}) for n in (1, 4, 9, 12))
    numbers = np.array([2, 3, 5, 6, 7, 8, 10, 11])
    rows = Rows(part, pa.RecordBatch.from_pydict({"x": numbers}), numbers, refused)
    pieces = list(split(rows, 3))
    assert [piece.batch.column("x").to_pylist() for piece in pieces] == [[2, 3, 5], [6, 7, 8], [10, 11]]
    assert [piece.numbers.tolist() for piece in pieces] == [[2, 3, 5], [6, 7, 8], [10, 11]]
    assert [[row.row for row in piece.refused] for piece in pieces] == [[1, 4], [], [9, 12]]
    assert sum(piece.count for piece in pieces) == rows.count
    alone = Rows(part, rows.batch.slice(0, 0), numbers[:0], refused)
    assert [piece.refused for piece in split(alone, 3)] == [refused]
