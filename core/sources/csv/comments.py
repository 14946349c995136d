"""CSV comments: removes comment lines from CSV text while it is read."""

from __future__ import annotations

import io
import re
from typing import Any

from headrace.core.sources.csv_dialect import CsvDialect


class WithoutComments(io.RawIOBase):
    """A stream of complete lines, without those that begin with the dialect's comment.

    A line within a quoted field is not a comment: the quotes before it are counted.

    Args:
        file: the file; its encoding must contain ASCII.
        dialect: with the comment and the quote.
        block: bytes per read.
    """

    def __init__(self, file: Any, dialect: CsvDialect, block: int) -> None:
        self._file = file
        self._block = block
        self._quote = dialect.quote.encode()
        self._escaped = dialect.escape.encode() + self._quote if dialect.escape and dialect.quote else b""
        comment = re.escape(dialect.comment.encode())
        self._comment = re.compile(rb"(?m)^" + comment + rb"[^\n]*(?:\n|\Z)")
        self._quotes = 0
        self._rest = b""
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` with text without comments."""
        while not self._ready and not self._ended:
            read = self._file.read(self._block)
            self._ended = not read
            lines, end, self._rest = (self._rest + read).rpartition(b"\n") if read else (self._rest, b"", b"")
            self._ready = self._without(lines + end)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _without(self, lines: bytes) -> bytes:
        kept = []
        at = 0
        for found in self._comment.finditer(lines):
            if found.start() < at:
                continue
            before = lines[at : found.start()]
            self._quotes += self._count(before)
            kept.append(before)
            at = found.start()
            if self._quotes % 2 == 0:
                at = found.end()
        last = lines[at:]
        self._quotes += self._count(last)
        kept.append(last)
        return b"".join(kept)

    def _count(self, text: bytes) -> int:
        if not self._quote:
            return 0
        return text.count(self._quote) - (text.count(self._escaped) if self._escaped else 0)
