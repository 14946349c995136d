"""Shard stream: rows of shards, shuffled by shard and by block, from any position.

Each epoch reads the shards in another order, interleaves up to 8 of them in pieces of 256 records, splits the sequence
into blocks of 16,384 and permutes each block. The order depends on the seed and the epoch only. The row at a position
is known without reading earlier rows, and a stream that starts in the middle skips records by their lengths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.input.block_reader import BlockReader
from headrace.components.train.input.examples import Split
from headrace.components.train.input.interleaving import Interleave
from headrace.components.train.input.records import BLOCK_ROWS
from headrace.core.problem import Problem
from headrace.core.tfrecord import native
from headrace.core.tfrecord.reader import Run

ENDLESS = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Shards:
    """Shards of TFRecords.

    Attributes:
        problem: the Problem.
        files: local paths.
        rows: of each.
        seed: of the shuffling, in [0, 2**63).
    """

    problem: Problem
    files: tuple[str, ...]
    rows: tuple[int, ...]
    seed: int

    @classmethod
    def of(cls, problem: Problem, split: Split, seed: int) -> Shards:
        """The shards of a split."""
        return cls(problem, split.files, split.shard_rows, seed)

    @property
    def total(self) -> int:
        """Rows of an epoch."""
        return sum(self.rows)

    def in_order(self) -> Any:
        """A dataset of `Rows`: all of them in the order of the files, in blocks of up to 16,384."""
        plan = _Plan([Run(file, 0, rows) for file, rows in enumerate(self.rows)])
        reader, total = self._reader, self.total

        @tf.autograph.experimental.do_not_convert
        def read(block: Any) -> Any:
            return reader.rows(plan.block, [block], _numbers(block, total))

        return tf.data.Dataset.range(self._blocks).map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def blocks(self, place: int, epochs: int | None = None) -> Any:
        """A dataset of (block's number within its epoch, `Rows`), from a place of the stream.

        Args:
            place: a row of the stream, counted through all epochs. The first block is the one with this row, from its
                beginning.
            epochs: number of epochs, including an incomplete first one; None for an endless dataset.
        """
        first, within = divmod(place, self.total)
        begun = within // BLOCK_ROWS
        end = ENDLESS if epochs is None else (first + epochs) * self._blocks
        numbers = tf.data.Dataset.range(first * self._blocks + begun, end)
        reader, total, blocks = self._reader, self.total, self._blocks

        # Blocks are read slightly out of order: from at most two epochs at once.
        @lru_cache(maxsize=2)
        def plan(order: tuple[int, ...]) -> _Plan:
            return _Plan.interleaved(self.rows, order)

        def runs(block: int, order: Any) -> list[Run]:
            return plan(tuple(order.tolist())).block(block)

        @tf.autograph.experimental.do_not_convert
        def read(number: Any) -> Any:
            epoch, block = number // blocks, number % blocks
            order = self._shuffled(_numbers(block, total), epoch, block)
            return block, reader.rows(runs, [block, self._order(epoch)], order)

        return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def own(self, worker: int, workers: int) -> Shards:
        """The shards of one worker, assigned so that the workers' numbers of rows are as equal as possible."""
        shares: list[list[int]] = [[] for _ in range(workers)]
        for shard in sorted(range(len(self.files)), key=lambda shard: -self.rows[shard]):
            min(shares, key=lambda share: (sum(self.rows[one] for one in share), shares.index(share))).append(shard)
        mine = sorted(shares[worker])
        files, rows = tuple(self.files[shard] for shard in mine), tuple(self.rows[shard] for shard in mine)
        return dataclasses.replace(self, files=files, rows=rows)

    @property
    def decoder(self) -> str:
        """Describes the decoder of records, with the reason if it is the slower one."""
        return f"numpy, because the C code is not used: {native.absence()}" if native.library() is None else "C"

    @cached_property
    def _reader(self) -> BlockReader:
        return BlockReader(self.problem, self.files)

    @property
    def _blocks(self) -> int:
        """Blocks of an epoch."""
        return -(-self.total // BLOCK_ROWS)

    def _order(self, epoch: Any) -> Any:
        seeds = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(epoch, tf.int64)])
        return tf.random.experimental.stateless_shuffle(tf.range(len(self.files)), seeds)

    def _shuffled(self, rows: Any, epoch: Any, block: Any) -> Any:
        # The upper half of the second seed distinguishes the blocks of one epoch.
        seeds = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(epoch, tf.int64) + block * (1 << 32)])
        return tf.random.experimental.stateless_shuffle(rows, seeds)


class _Plan:
    """A sequence of records, read by block."""

    def __init__(self, runs: Iterable[Run]) -> None:
        # An epoch of many rows has millions of pieces.
        self._runs = np.fromiter(runs, np.dtype([("file", np.int32), ("first", np.int64), ("rows", np.int64)]))
        self._ends = np.cumsum(self._runs["rows"])

    @classmethod
    def interleaved(cls, rows: Sequence[int], order: Sequence[int]) -> _Plan:
        pieces = Interleave([rows[shard] for shard in order]).pieces()
        return cls(Run(order[shard], first, count) for shard, first, count in pieces)

    def block(self, block: int) -> list[Run]:
        """The records of a block, in their order."""
        begin, end = int(block) * BLOCK_ROWS, (int(block) + 1) * BLOCK_ROWS
        runs = []
        first, last = np.searchsorted(self._ends, begin, "right"), np.searchsorted(self._ends, end, "left")
        pieces = zip(self._runs[first : last + 1].tolist(), self._ends[first : last + 1].tolist(), strict=True)
        for (file, record, rows), stop in pieces:
            skipped, beyond = max(0, begin - (stop - rows)), max(0, stop - end)
            runs.append(Run(file, record + skipped, rows - skipped - beyond))
        return runs


def _numbers(block: Any, total: int) -> Any:
    """The numbers of a block's records, from 0."""
    return tf.range(tf.cast(tf.minimum(total - block * BLOCK_ROWS, BLOCK_ROWS), tf.int32))
