"""In which order an interleave of shards gives their records: known without reading any, from any place on.

Up to 8 shards are open at once, and give pieces of 256 records by turns, as tf.data's `interleave` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from headrace.core.tfrecord.reader import Run

INTERLEAVED_SHARDS = 8
PIECE_ROWS = 256


class Interleave:
    """The turns of shards.

    Args:
        rows: of each shard, in the order in which they are opened.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = rows
        self._slots: list[tuple[int, int] | None] = [None] * min(INTERLEAVED_SHARDS, len(rows))
        self._waiting = deque(range(len(rows)))
        self._slot = 0

    def pieces(self) -> Iterator[Run]:
        """The pieces by turns; until the next is asked for, `rest` still has the last one."""
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
                    yield Run(shard, taken, piece)
                self._slots[self._slot] = (shard, taken + piece) if piece else None
            self._slot = (self._slot + 1) % len(self._slots)

    def rest(self) -> list[tuple[int, int]]:
        """(shard, rows to skip in it), in the order in which an interleave must open them to go on from here."""
        waiting, opened = deque(self._waiting), []
        for turn in range(len(self._slots)):
            held = self._slots[(self._slot + turn) % len(self._slots)]
            if held is None and waiting:
                held = (waiting.popleft(), 0)
            if held is not None:
                opened.append(held)
        return [*opened, *((shard, 0) for shard in waiting)]


def entered(rows: Sequence[int], place: int) -> tuple[list[tuple[int, int]], int]:
    """How an interleave of shards is entered at a place of what it gives.

    Args:
        rows: of each shard, in the order in which it opens them.
        place: rows that it gave before; fewer than there are.

    Returns:
        What `Interleave.rest` gives at the piece that holds `place`; and the rows of that piece that come before it.
    """
    turns, given = Interleave(rows), 0
    for piece in turns.pieces():
        if given + piece.rows > place:
            break
        given += piece.rows
    return turns.rest(), place - given
