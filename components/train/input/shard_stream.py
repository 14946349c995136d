"""Shard stream: rows of shards, shuffled by shard and by block, from any position.

Each epoch reads the shards in another order, interleaves up to 8 of them in pieces of 256 records, splits the sequence
into blocks of 16,384 and permutes each block. The order depends on the seed and the epoch only. The row at a position
is known without reading earlier rows, and a stream that starts in the middle skips records by their lengths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from headrace.components.train.input.block_reader import BlockReader
from headrace.components.train.input.examples import SplitFiles
from headrace.components.train.input.interleaving import Interleave
from headrace.components.train.input.records import BLOCK_ROWS, PreparedRows
from headrace.components.train.input.row_order import shuffled
from headrace.core.problem import Problem
from headrace.core.tfrecord import native
from headrace.core.tfrecord.reader import RecordRange


@dataclass(frozen=True)
class Shards:
    """Shards of TFRecords.

    Attributes:
        problem: the Problem.
        files: local paths.
        rows: number of rows of each.
        seed: of the shuffling, in [0, 2**63).
        weights: weight of a row of each file; empty for equal weights.
    """

    problem: Problem
    files: tuple[str, ...]
    rows: tuple[int, ...]
    seed: int
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, problem: Problem, split: SplitFiles, seed: int) -> Shards:
        """The shards of a split."""
        return cls(problem, split.files, split.shard_rows, seed, split.weights)

    @property
    def total(self) -> int:
        """Rows of an epoch."""
        return sum(self.rows)

    @property
    def blocks(self) -> int:
        """Number of blocks of an epoch: 16,384 rows each, except for the last one."""
        return -(-self.total // BLOCK_ROWS)

    def in_order(self, number: int) -> PreparedRows:
        """The rows of block `number`, from 0, in the order of the files.

        Raises:
            UnreadableFile, DataError, OSError: see `ExampleReader.read`.
        """
        return self._reader.rows(self._files_plan.block(number), np.arange(self._rows_of(number)))

    def shuffled(self, epoch: int, number: int) -> PreparedRows:
        """The rows of block `number` of an epoch, both from 0, shuffled.

        Raises:
            UnreadableFile, DataError, OSError: see `ExampleReader.read`.
        """
        # The upper half of the second seed distinguishes the blocks of one epoch.
        order = shuffled(np.arange(self._rows_of(number), dtype=np.int32), self.seed, epoch + number * (1 << 32))
        return self._reader.rows(self._plan(epoch).block(number), order)

    def own(self, worker: int, workers: int) -> Shards:
        """The shards of one worker, assigned so that the workers' numbers of rows are as equal as possible."""
        shares: list[list[int]] = [[] for _ in range(workers)]
        for shard in sorted(range(len(self.files)), key=lambda shard: -self.rows[shard]):
            min(shares, key=lambda share: (sum(self.rows[one] for one in share), shares.index(share))).append(shard)
        mine = sorted(shares[worker])
        files, rows = tuple(self.files[shard] for shard in mine), tuple(self.rows[shard] for shard in mine)
        weights = tuple(self.weights[shard] for shard in mine) if self.weights else ()
        return dataclasses.replace(self, files=files, rows=rows, weights=weights)

    @property
    def decoder(self) -> str:
        """Describes the decoder of records, with the reason if it is the slower one."""
        return f"numpy, because the C code is not used: {native.absence()}" if native.library() is None else "C"

    @cached_property
    def _reader(self) -> BlockReader:
        return BlockReader(self.problem, self.files, self.weights)

    @cached_property
    def _files_plan(self) -> _Plan:
        return _Plan([RecordRange(file, 0, rows) for file, rows in enumerate(self.rows)])

    @cached_property
    def _plan(self) -> Callable[[int], _Plan]:
        def of_epoch(epoch: int) -> _Plan:
            order = shuffled(np.arange(len(self.files), dtype=np.int32), self.seed, epoch)
            return _Plan.interleaved(self.rows, order.tolist())

        # Blocks are read slightly out of order: from at most two epochs at once.
        return lru_cache(maxsize=2)(of_epoch)

    def _rows_of(self, number: int) -> int:
        """Number of rows of a block."""
        return min(BLOCK_ROWS, self.total - number * BLOCK_ROWS)


class _Plan:
    """A sequence of records, read by block."""

    def __init__(self, runs: Iterable[RecordRange]) -> None:
        # An epoch of many rows has millions of pieces.
        self._runs = np.fromiter(runs, np.dtype([("file", np.int32), ("first", np.int64), ("rows", np.int64)]))
        self._ends = np.cumsum(self._runs["rows"])

    @classmethod
    def interleaved(cls, rows: Sequence[int], order: Sequence[int]) -> _Plan:
        pieces = Interleave([rows[shard] for shard in order]).pieces()
        return cls(RecordRange(order[shard], first, count) for shard, first, count in pieces)

    def block(self, block: int) -> list[RecordRange]:
        """The records of a block, in their order."""
        begin, end = block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS
        runs = []
        first, last = np.searchsorted(self._ends, begin, "right"), np.searchsorted(self._ends, end, "left")
        pieces = zip(self._runs[first : last + 1].tolist(), self._ends[first : last + 1].tolist(), strict=True)
        for (file, record, rows), stop in pieces:
            skipped, beyond = max(0, begin - (stop - rows)), max(0, stop - end)
            runs.append(RecordRange(file, record + skipped, rows - skipped - beyond))
        return runs
