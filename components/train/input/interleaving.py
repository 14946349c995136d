"""Interleaving of shards: computes the order of the records without reading them.

Up to 8 shards are open at once and yield pieces of 256 records in turn, as tf.data's `interleave` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from headrace.core.tfrecord.reader import RecordRange

INTERLEAVED_SHARDS = 8
PIECE_ROWS = 256


class Interleave:
    """The pieces of interleaved shards.

    Args:
        rows: number of rows of each shard, in the order in which they are opened.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = rows
        self._slots: list[tuple[int, int] | None] = [None] * min(INTERLEAVED_SHARDS, len(rows))
        self._waiting = deque(range(len(rows)))
        self._slot = 0

    def pieces(self) -> Iterator[RecordRange]:
        """The pieces in their order."""
        while True:
            held = self._slots[self._slot]
            if held is None:
                if self._waiting:
                    # A shard is opened when its slot's turn comes, and read in the same turn.
                    self._slots[self._slot] = (self._waiting.popleft(), 0)
                    continue
                if not any(self._slots):
                    return
            else:
                shard, taken = held
                piece = min(PIECE_ROWS, self._rows[shard] - taken)
                if piece:
                    yield RecordRange(shard, taken, piece)
                self._slots[self._slot] = (shard, taken + piece) if piece else None
            self._slot = (self._slot + 1) % len(self._slots)
