"""Request size: rows per request, limited by bytes; the limit drops permanently when a server refuses a request."""

from __future__ import annotations

import threading

from headrace.core.scoring.predictor import BLOCK_ROWS, filled_rows


class RequestSize:
    """The size of requests; safe to use from several threads at a time.

    Attributes:
        rows: maximum per request; a multiple of the block size if that is allowed.
    """

    def __init__(self, rows: int, nbytes: int, batch: int | None = None) -> None:
        """Starts with the maximum size.

        Args:
            rows: maximum rows per request.
            nbytes: maximum bytes per body.
            batch: rows that every request must have, if the model fixes them.
        """
        self.rows = batch or _whole_blocks(rows)
        self._batch = batch
        self._bytes = nbytes
        # Bytes and rows of the last body.
        self._last = (0, 1)
        self._lock = threading.Lock()

    def next(self, rows: int) -> int:
        """Rows of the next request, 1 to `rows`, estimated from the bytes per row so far."""
        with self._lock:
            nbytes, of = self._last
            fitting = self._bytes * of // nbytes if nbytes else self.rows
        most = max(1, min(self.rows, fitting))
        return rows if rows <= most else _whole_blocks(most)

    def filled(self, rows: int) -> int:
        """`rows` rounded up to a multiple of the block size, if that is allowed."""
        filled = self._batch or filled_rows(rows)
        return filled if filled <= self.rows else rows

    def fits(self, rows: int, nbytes: int) -> bool:
        """Whether a body is small enough; records its bytes per row."""
        with self._lock:
            self._last = nbytes, rows
            return nbytes <= self._bytes

    def lower(self, nbytes: int) -> None:
        """Records that a server refused a body because of its size."""
        with self._lock:
            self._bytes = min(self._bytes, nbytes // 2)


def _whole_blocks(rows: int) -> int:
    return rows if rows < BLOCK_ROWS else rows - rows % BLOCK_ROWS
