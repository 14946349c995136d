"""Batches: endless datasets of one static shape that start at any step, with one part per worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from headrace.components.train.input import row_order
from headrace.components.train.input.examples import Split
from headrace.components.train.input.records import BLOCK_ROWS, Rows, after_place
from headrace.components.train.input.row_cache import CacheFill, InMemory, OnDisk
from headrace.components.train.input.shard_stream import Shards
from headrace.core.errors import UsageError

_GATHERED_ROWS = 16_384
_PREFETCH_SHARE = 0.01
_MEMORY_UNKNOWN = 1 << 30


def prefetched(batch_bytes: int, memory_bytes: int | None) -> int:
    """Number of prefetched batches: 64 if they use less than 1 % of the free memory, and at least 2."""
    budget = (_MEMORY_UNKNOWN if memory_bytes is None else memory_bytes) * _PREFETCH_SHARE
    return int(min(64, max(2, budget // max(1, batch_bytes))))


@dataclass(frozen=True)
class Batches:
    """Makes the batches of every order.

    Attributes:
        shards: what is read.
        prepared: raw rows -> prepared rows.
        blocks: a dataset of prepared rows in their order.
        batch_size: rows per batch, over all workers.
        deterministic: whether the order of batches is kept even if that is slower.
        row_bytes: size of a prepared row, in bytes.
        memory_bytes: free main memory, in bytes; None if unknown.
    """

    shards: Shards
    prepared: Callable[..., Rows]
    blocks: Any
    batch_size: int
    deterministic: bool
    row_bytes: int
    memory_bytes: int | None

    def streamed(self, start_step: int, worker: int, workers: int) -> Any:
        """Batches read from the shards, in blocks."""
        size, place = self._size(workers), start_step * self.batch_size
        blocks = self.shards.blocks(place).map(
            lambda _, rows: self.prepared(*rows), num_parallel_calls=tf.data.AUTOTUNE
        )
        return self._finished(
            self._batched(after_place(blocks, place % self.shards.total % BLOCK_ROWS), worker, size), size
        )

    def by_file(self, start_step: int, worker: int, workers: int) -> Any:
        """Batches of one worker out of its own shards."""
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

    def gathered(self, rows: Callable[[Any], Rows], order: Any, start_step: int, worker: int, workers: int) -> Any:
        """Batches of cached rows: numbers -> rows, in an order of row_order.py."""
        size = self._size(workers)
        # Several batches are gathered at once: for small ones, the fixed cost of a call dominates.
        joined = max(1, _GATHERED_ROWS // self.batch_size)

        @tf.autograph.experimental.do_not_convert
        def gather(chosen: Any) -> Rows:
            mine = tf.reshape(chosen, [joined, self.batch_size])[:, worker * size :][:, :size]
            return _cut(rows(tf.reshape(mine, [joined * size])), joined, size)

        with tf.device("CPU:0"):
            chosen = order(self.shards.total, self.shards.seed, start_step * self.batch_size)
            chosen = chosen.rebatch(joined * self.batch_size, drop_remainder=True)
            return self._finished(chosen.map(gather, num_parallel_calls=tf.data.AUTOTUNE).unbatch(), size)

    def filling(self, cache: str, split: Split, *, by_file_order: bool) -> CacheFill:
        """The storage of the rows, in the order of the first epoch or of the files."""
        like = self.blocks.element_spec

        # All threads of the shared pool may be waiting for these rows.
        options = tf.data.Options()
        options.threading.private_threadpool_size = 2

        def read(there: set[int]) -> Iterator[Any]:
            if by_file_order:
                return iter(self.blocks.enumerate().with_options(options))
            missing = self.shards.blocks(0, epochs=1).filter(
                lambda number, _: tf.reduce_all(number != tf.constant([-1, *there], tf.int64))
            )
            prepared = missing.map(lambda n, rows: (n, self.prepared(*rows)), num_parallel_calls=tf.data.AUTOTUNE)
            return iter(prepared.prefetch(2).with_options(options))

        return CacheFill(InMemory(like) if cache == "memory" else OnDisk(like, split.rows), split, read)

    def filled(self, filling: CacheFill, order: str, start_step: int, worker: int, workers: int) -> Any:
        """The first epoch as it is read, and from then on the rows stored in `filling`."""
        in_order = row_order.runs if order == "blocks_then_runs" else row_order.uniform

        def later(*place: int) -> Any:
            return filling.once_complete(in_order(*place))

        rows, batch = self.shards.total, self.batch_size
        place = start_step * batch
        # The batch that ends the first epoch ends in the second.
        streamed_steps = 0 if order == "uniform" else -(-rows // batch)
        if start_step >= streamed_steps:
            filling.complete()
            return self.gathered(filling.gather, later, start_step, worker, workers)
        size = self._size(workers)

        @tf.autograph.experimental.do_not_convert
        def kept(number: Any, rows: Any) -> Rows:
            block = self.prepared(*rows)
            filling.keep(number, block)
            return block

        first = self.shards.blocks(place, epochs=1).map(kept, num_parallel_calls=tf.data.AUTOTUNE)
        first = after_place(first, place % BLOCK_ROWS)
        if rows % batch:
            head = later(rows, self.shards.seed, rows).rebatch(-rows % batch).take(1)
            first = first.concatenate(head.map(filling.gather))
        rest = self.gathered(filling.gather, later, streamed_steps, worker, workers)
        return self._finished(self._batched(first, worker, size), size).concatenate(rest)

    def _batched(self, blocks: Any, worker: int, size: int) -> Any:
        """Blocks of rows as a worker's part of batches of static shape."""

        @tf.autograph.experimental.do_not_convert
        def own(*rows: Any) -> Rows:
            if size < self.batch_size:
                mine = tf.range(worker * size, (worker + 1) * size)
                rows = tf.nest.map_structure(lambda column: tf.gather(column, mine), rows)
            return _cut(rows, 0, size)

        return blocks.rebatch(self.batch_size, drop_remainder=True).map(own)

    def _size(self, workers: int) -> int:
        if self.batch_size % workers:
            raise UsageError(
                "a batch cannot be divided among the workers",
                where="batch_size",
                expected=f"a multiple of {workers}",
                received=str(self.batch_size),
            )
        return self.batch_size // workers

    def _finished(self, batches: Any, size: int) -> Any:
        options = tf.data.Options()
        options.deterministic = self.deterministic
        return batches.prefetch(prefetched(size * self.row_bytes, self.memory_bytes)).with_options(options)


def _cut(rows: Any, batches: int, size: int) -> Rows:
    """Rows as `batches` batches of `size`, or as one batch of static shape if `batches` is 0."""

    def shaped(column: Any) -> Any:
        return tf.reshape(column, [*([batches] if batches else []), size, *column.shape[1:]])

    cut: Rows = tf.nest.map_structure(shaped, rows)
    return cut
