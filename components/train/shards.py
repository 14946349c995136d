"""A stream of records out of shards, shuffled by shards and blocks, that can be entered at any place.

Each epoch takes the shards in another order, up to 8 of them interleaved in pieces of 256 records, cuts the sequence
into blocks of 16,384, and permutes each. All of it follows from the seed and the epoch: what is at a place is known
without reading what comes before it, and a stream that starts in the middle skips over records by their lengths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.records import BLOCK_ROWS, after_place, record_dataset

INTERLEAVED_SHARDS = 8
PIECE_ROWS = 256
ENDLESS = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Shards:
    """Shards of TFRecords.

    Attributes:
        files: local paths.
        rows: of each.
        seed: of the shuffling, in [0, 2**63).
        compression: "" or "GZIP".
    """

    files: tuple[str, ...]
    rows: tuple[int, ...]
    seed: int
    compression: str = ""

    @property
    def total(self) -> int:
        """Rows of an epoch."""
        return sum(self.rows)

    def blocks(self, place: int, epochs: int | None = None) -> Any:
        """A dataset of (block's number within its epoch, records) from a place of the stream on.

        Args:
            place: a row of the stream, counted through all epochs. The first block is the one that holds it, from its
                beginning.
            epochs: how many are given, the first counted even if it begins in its middle; None for no end.
        """
        first, within = divmod(place, self.total)
        begun = self._blocks_of(first, within // BLOCK_ROWS)
        if epochs == 1:
            return begun
        end = ENDLESS if epochs is None else first + epochs
        return begun.concatenate(tf.data.Dataset.range(first + 1, end).flat_map(self._whole_epoch))

    def own(self, worker: int, workers: int) -> Shards:
        """The shards of one worker: dealt out so that the workers' rows are as equal as may be."""
        shares: list[list[int]] = [[] for _ in range(workers)]
        for shard in sorted(range(len(self.files)), key=lambda shard: -self.rows[shard]):
            min(shares, key=lambda share: (sum(self.rows[one] for one in share), shares.index(share))).append(shard)
        mine = sorted(shares[worker])
        files, rows = tuple(self.files[shard] for shard in mine), tuple(self.rows[shard] for shard in mine)
        return Shards(files, rows, self.seed, self.compression)

    def _order(self, epoch: Any) -> Any:
        seeds = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(epoch, tf.int64)])
        return tf.random.experimental.stateless_shuffle(tf.range(len(self.files)), seeds)

    @tf.autograph.experimental.do_not_convert
    def _whole_epoch(self, epoch: Any) -> Any:
        files = tf.gather(tf.constant(self.files), self._order(epoch))
        pieces = self._pieces(files, tf.zeros_like(files, tf.int64))
        return self._shuffled(pieces.rebatch(BLOCK_ROWS), epoch, 0)

    def _blocks_of(self, epoch: int, block: int) -> Any:
        with tf.device("CPU:0"):
            order = self._order(epoch).numpy()
        opened, surplus = entered([self.rows[shard] for shard in order], block * BLOCK_ROWS)
        files = tf.constant([self.files[order[shard]] for shard, _ in opened])
        pieces = self._pieces(files, tf.constant([skipped for _, skipped in opened], tf.int64))
        return self._shuffled(after_place(pieces, surplus).rebatch(BLOCK_ROWS), epoch, block)

    def _pieces(self, files: Any, skipped: Any) -> Any:
        @tf.autograph.experimental.do_not_convert
        def of_shard(file: Any, skip: Any) -> Any:
            return record_dataset(file, self.compression).skip(skip).batch(PIECE_ROWS)

        return tf.data.Dataset.from_tensor_slices((files, skipped)).interleave(
            of_shard, cycle_length=INTERLEAVED_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def _shuffled(self, blocks: Any, epoch: Any, first_block: int) -> Any:
        @tf.autograph.experimental.do_not_convert
        def shuffled(block: Any, records: Any) -> Any:
            # Blocks of one epoch are told apart in the upper half of the second seed.
            seeds = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(epoch, tf.int64) + block * (1 << 32)])
            return block, tf.random.experimental.stateless_shuffle(records, seeds)

        return blocks.enumerate(first_block).map(shuffled, num_parallel_calls=tf.data.AUTOTUNE)


def entered(rows: Sequence[int], place: int) -> tuple[list[tuple[int, int]], int]:
    """How an interleave of shards is entered at a place of what it gives.

    Args:
        rows: of each shard, in the order in which it opens them.
        place: rows that it gave before; a multiple of nothing.

    Returns:
        (shard, rows to skip in it), in the order in which the interleave must open them to go on with the piece that
        holds `place`; and the rows of that piece that come before it.
    """
    slots: list[tuple[int, int] | None] = [None] * min(INTERLEAVED_SHARDS, len(rows))
    waiting, given, slot = deque(range(len(rows))), 0, 0
    while True:
        held = slots[slot]
        if held is None:
            if waiting:
                # A shard is opened when its slot's turn comes, and read in the same turn.
                slots[slot] = (waiting.popleft(), 0)
                continue
            if not any(slots):
                break
        else:
            shard, taken = held
            piece = min(PIECE_ROWS, rows[shard] - taken)
            if given + piece > place:
                break
            given += piece
            slots[slot] = (shard, taken + piece) if piece else None
        slot = (slot + 1) % len(slots)
    opened: list[tuple[int, int]] = []
    for turn in range(len(slots)):
        held = slots[(slot + turn) % len(slots)]
        if held is None and waiting:
            held = (waiting.popleft(), 0)
        if held is not None:
            opened.append(held)
    return [*opened, *((shard, 0) for shard in waiting)], place - given
