"""Parts of an Avro block: rows that are decoded together, and their places: no row costs more than its bytes."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

# Maximum size of a row, and of the rows that are decoded together: a list of numbers takes 40 times its bytes.
MAXIMUM_ROW = 16 << 20


class BlockPart:
    """Some rows of a block, from a byte on.

    Args:
        block: of fastavro's block_reader.
        begin: the first byte.
        count: maximum number of rows.
        schema: of the rows.
    """

    def __init__(self, block: Any, begin: int, count: int, schema: Any) -> None:
        self.count = count
        self._begin, self._base = begin, 0
        self._block = copy.copy(block)
        self._block.writer_schema, self._block.num_records = schema, count
        content = block.bytes_.getbuffer()
        self._size = len(content)
        self._is_cut = self._size > 2 * MAXIMUM_ROW
        if self._is_cut:
            # The rows end after MAXIMUM_ROW, so that only a longer one is cut.
            self._block.bytes_ = io.BytesIO(content[begin : begin + 2 * MAXIMUM_ROW])
            self._base = begin
        else:
            self._block.bytes_.seek(begin)

    def cut(self, begin: int) -> int | None:
        """The byte at which a row would be cut that begins there; None if it may have all bytes of the block."""
        end = begin + MAXIMUM_ROW
        return end if self._is_cut and end < self._size else None

    @property
    def end(self) -> int:
        """The byte after the last row so far."""
        at: int = self._base + self._block.bytes_.tell()
        return at

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the rows, up to MAXIMUM_ROW bytes of them."""
        for row in self._block:
            yield row
            if self.end - self._begin > MAXIMUM_ROW:
                return


def decode_row(block: Any, content: bytes, schema: Any) -> dict[str, Any]:
    """The row that begins the content."""
    one = copy.copy(block)
    one.bytes_, one.writer_schema, one.num_records = io.BytesIO(content), schema, 1
    row: dict[str, Any] = next(iter(one))
    return row
