"""Batches: endless datasets of one static shape that start at any step, with one part per worker.

A stream is read in chunks of several batches, by threads that only read: a dataset's graph would take longer to trace
than small data to train on. The shared threads of TensorFlow stay free for the steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from headrace.components.train.input.examples import SplitFiles
from headrace.components.train.input.prepared_blocks import Calls, SharedBlocks, readers
from headrace.components.train.input.records import BLOCK_ROWS, PreparedRows, RowPreparer, reading, row_bytes
from headrace.components.train.input.row_cache import RowCache
from headrace.components.train.input.row_order import RowOrder, cuts
from headrace.components.train.input.shard_stream import Shards
from headrace.core.errors import DataError, UsageError

# For small batches, the fixed cost of a call dominates.
_CHUNK_ROWS = 16_384
_PREFETCH_SHARE = 0.01
_MEMORY_UNKNOWN = 1 << 30
# (place in the stream, number of rows, which of them; None for all) -> their columns.
RowsAt = Callable[[int, int, Any], list[Any]]


def prefetched(batch_bytes: int, memory_bytes: int | None) -> int:
    """Number of prefetched batches: 64 if they use less than 1 % of the free memory, and at least 2."""
    budget = (_MEMORY_UNKNOWN if memory_bytes is None else memory_bytes) * _PREFETCH_SHARE
    return int(min(64, max(2, budget // max(1, batch_bytes))))


@dataclass(frozen=True)
class Stream:
    """An endless stream of shuffled rows in two forms: the same batches in the same order.

    Attributes:
        chunks: a dataset of several batches each, [batches, rows, ...] of each column.
        batches: a dataset of batches.
    """

    chunks: Any
    batches: Any


@dataclass(frozen=True)
class Batches:
    """Makes the batches of every order.

    Attributes:
        shards: the shards to read.
        prepared: raw rows -> prepared rows.
        batch_size: rows per batch, over all workers.
        deterministic: whether the order of batches is preserved even if that is slower.
        memory_bytes: free main memory, in bytes; None if unknown.
    """

    shards: Shards
    prepared: RowPreparer
    batch_size: int
    deterministic: bool
    memory_bytes: int | None

    def streamed(self, start_step: int, worker: int, workers: int) -> Stream:
        """Batches read from the shards, in blocks."""
        return self.of_rows(_rows_of_blocks(self._blocks(), self.shards.total), start_step, worker, workers)

    def by_file(self, start_step: int, worker: int, workers: int) -> Stream:
        """Batches of one worker from its own shards."""
        if workers == 1:
            return self.streamed(start_step, 0, 1)
        shards = self.shards.own(worker, workers)
        if not shards.total:
            raise UsageError(
                "there are fewer shards than workers",
                where="--sharding file",
                expected=f"{workers} shards or more",
                received=str(len(self.shards.files)),
                fix="Use --sharding record",
            )
        alone = dataclasses.replace(self, shards=shards, batch_size=self._size(workers))
        return alone.streamed(start_step, 0, 1)

    def cached(
        self, split: SplitFiles, place: str, order: RowOrder, *, stream_first: bool
    ) -> Callable[[int, int, int], Stream]:
        """(start step, worker, workers) -> batches of cached rows.

        Args:
            split: the split of the shards.
            place: where its rows are cached: memory or disk.
            order: of the cached rows.
            stream_first: whether the first epoch trains on the rows as they are read, in the order of the shard
                stream, by which they are then numbered; else they are read now, and numbered in the order of the files.

        Raises:
            DataError: a shard is damaged.
        """
        total = self.shards.total

        def read(epoch: int, number: int) -> list[Any]:
            rows = self.shards.shuffled(epoch, number) if stream_first else self.shards.in_order(number)
            columns: list[Any] = tf.nest.flatten(self.prepared(rows))
            cache.keep(number, columns)
            return columns

        blocks = self._blocks(read)
        streamed = _rows_of_blocks(blocks, total)
        on_disk = place == "disk"
        cache = RowCache(self.prepared.specification, total, lambda number: blocks.get(0, number), on_disk=on_disk)

        def complete() -> None:
            with reading(split):
                cache.complete()
            blocks.clear()

        def rows_at(place: int, count: int, which: Any) -> list[Any]:
            first = min(count, max(0, total - place)) if stream_first else 0
            if first == count:
                return streamed(place, count, which)
            complete()
            numbers = order.numbers(place + first, count - first)
            if not first:
                return cache.gather(numbers if which is None else numbers[which])
            chosen = np.arange(count) if which is None else which
            before = streamed(place, first, chosen[chosen < first])
            return _joined([before, cache.gather(numbers[chosen[chosen >= first] - first])])

        def batches(start_step: int, worker: int, workers: int) -> Stream:
            if start_step * self.batch_size >= total:
                complete()
            return self.of_rows(rows_at, start_step, worker, workers)

        if not stream_first:
            complete()
        return batches

    def _blocks(self, read: Callable[[int, int], list[Any]] | None = None) -> SharedBlocks:
        def plain(epoch: int, number: int) -> list[Any]:
            columns: list[Any] = tf.nest.flatten(self.prepared(self.shards.shuffled(epoch, number)))
            return columns

        # Each thread may be in the middle of two blocks.
        return SharedBlocks(read or plain, 2 * readers() + 1)

    def of_rows(self, rows_at: RowsAt, start_step: int, worker: int, workers: int) -> Stream:
        """Batches of the rows that `rows_at` returns for a place of the stream."""
        size, like = self._size(workers), tf.nest.flatten(self.prepared.specification)
        # Small data would be read many epochs ahead.
        joined = max(1, min(_CHUNK_ROWS, self.shards.total) // self.batch_size)
        count = joined * self.batch_size
        which: npt.NDArray[np.int64] | None = None
        if workers > 1:
            which = np.arange(count).reshape(joined, self.batch_size)[:, worker * size :][:, :size].ravel()

        calls = Calls()

        def read(chunk: Any) -> list[Any]:
            place = (start_step + int(chunk) * joined) * self.batch_size
            try:
                with calls, tf.device("CPU:0"):
                    columns = rows_at(place, count, which)
                    return [_reshaped(column, (joined, size)) for column in columns]
            except (DataError, OSError) as error:
                # TensorFlow wraps this in an error of its own, with the whole chain of causes.
                raise ValueError(str(error)) from None

        # Arrays become tensors without a copy; strings are tensors already.
        call = tf.py_function if tf.string in [column.dtype for column in like] else tf.numpy_function

        @tf.autograph.experimental.do_not_convert
        def chunk_of(chunk: Any) -> PreparedRows:
            columns = call(read, [chunk], Tout=[column.dtype for column in like])
            for column, specification in zip(columns, like, strict=True):
                column.set_shape([joined, size, *specification.shape[1:]])
            rows: PreparedRows = tf.nest.pack_sequence_as(self.prepared.specification, columns)
            return rows

        with tf.device("CPU:0"):
            chunks = tf.data.Dataset.range(np.iinfo(np.int64).max).map(chunk_of, num_parallel_calls=readers())
            ahead = prefetched(size * row_bytes(self.prepared.specification), self.memory_bytes)
            options = self._options()
            return Stream(
                chunks.prefetch(max(1, ahead // joined)).with_options(options),
                chunks.unbatch().prefetch(ahead).with_options(options),
            )

    def _options(self) -> Any:
        options = tf.data.Options()
        options.deterministic = self.deterministic
        # These threads may wait for operations that need the shared ones.
        options.threading.private_threadpool_size = readers()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return options

    def _size(self, workers: int) -> int:
        if self.batch_size % workers:
            raise UsageError(
                "a batch cannot be divided among the workers",
                where="batch_size",
                expected=f"a multiple of {workers}",
                received=str(self.batch_size),
            )
        return self.batch_size // workers


def _rows_of_blocks(blocks: SharedBlocks, total: int) -> RowsAt:
    """The rows of a stream of blocks, `total` per epoch."""

    def rows_at(place: int, count: int, which: Any) -> list[Any]:
        pieces = []
        for epoch, begin, end in cuts(place, place + count, total):
            for number, first, last in cuts(begin, end, BLOCK_ROWS):
                columns = blocks.get(epoch, number)
                whole = last - first == len(columns[-1])
                pieces.append(columns if whole else [column[first:last] for column in columns])
        columns = _joined(pieces)
        return columns if which is None else [_taken(column, which) for column in columns]

    return rows_at


def _joined(pieces: list[list[Any]]) -> list[Any]:
    if len(pieces) == 1:
        return pieces[0]
    columns = zip(*pieces, strict=True)
    return [np.concatenate(parts) if isinstance(parts[0], np.ndarray) else tf.concat(parts, 0) for parts in columns]


def _taken(column: Any, which: Any) -> Any:
    return column[which] if isinstance(column, np.ndarray) else tf.gather(column, which)


def _reshaped(column: Any, begin: tuple[int, int]) -> Any:
    shape = (*begin, *column.shape[1:])
    return column.reshape(shape) if isinstance(column, np.ndarray) else tf.reshape(column, shape)
