"""How many rows a request may have: as many as it may hold bytes, which a server that refuses one lowers for good."""

from __future__ import annotations

import threading

from headrace.core.scoring.predictor import BLOCK_ROWS, filled_rows


class RequestSize:
    """The size of requests; safe to use from several threads at a time.

    Attributes:
        rows: of a request, at most; whole blocks, if that many are allowed.
    """

    def __init__(self, rows: int, nbytes: int, batch: int | None = None) -> None:
        """Begins with the most that is allowed.

        Args:
            rows: of a request, at most.
            nbytes: of a body, at most.
            batch: rows that every request must have, where the model fixes them.
        """
        self.rows = batch or _whole_blocks(rows)
        self._batch = batch
        self._bytes = nbytes
        # The last body: its bytes, and its rows.
        self._last = (0, 1)
        self._lock = threading.Lock()

    def next(self, rows: int) -> int:
        """How many of so many rows the next request is to ask about, 1 or more, by what rows took until now."""
        with self._lock:
            nbytes, of = self._last
            fitting = self._bytes * of // nbytes if nbytes else self.rows
        most = max(1, min(self.rows, fitting))
        return rows if rows <= most else _whole_blocks(most)

    def filled(self, rows: int) -> int:
        """So many rows filled up to whole blocks, where that many are allowed."""
        filled = self._batch or filled_rows(rows)
        return filled if filled <= self.rows else rows

    def fits(self, rows: int, nbytes: int) -> bool:
        """Whether a body may be sent; takes note of what its rows take."""
        with self._lock:
            self._last = nbytes, rows
            return nbytes <= self._bytes

    def lower(self, nbytes: int) -> None:
        """Takes note that a body was refused for its size."""
        with self._lock:
            self._bytes = min(self._bytes, nbytes // 2)


def _whole_blocks(rows: int) -> int:
    return rows if rows < BLOCK_ROWS else rows - rows % BLOCK_ROWS
