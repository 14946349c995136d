"""Sees while text is read whether it is damaged: bytes that no text has, and a quote that takes in the file's rest.

A parser goes on over either, and makes one row of what were many: rows would be gone, and nothing would tell.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable
from typing import Any

from headrace.core.errors import UnreadableFile
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open_file import opened

_BLOCK = 1 << 20
# Of these, zero bytes are a part.
_WIDE = ("utf-16", "utf-32")


class WatchedText(io.RawIOBase):
    """A stream that refuses what is not text of the dialect, and counts its quotes.

    Args:
        file: what is read.
        path: its name, for errors.
        dialect: what its encoding and its quote are.
    """

    def __init__(self, file: Any, path: str, dialect: CsvDialect) -> None:
        self._file = file
        self._path = path
        self._quote = dialect.quote.encode()
        self._decoder = codecs.getincrementaldecoder("utf-8")() if dialect.is_utf8 else None
        wide = codecs.lookup(dialect.encoding).name.startswith(_WIDE)
        self._zeros_are_damage = not wide and not any("\0" in value for value in dialect.null_values)
        self.quotes = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` as far as there is text.

        Raises:
            UnreadableFile: a byte is zero, or not UTF-8 where the text should be.
        """
        content = self._file.read(len(buffer))
        if self._zeros_are_damage and b"\0" in content:
            raise _zeros(self._path)
        if self._decoder is not None:
            try:
                self._decoder.decode(content, final=not content)
            except UnicodeDecodeError as error:
                check_utf8(self._path)
                raise UnreadableFile("the file is not UTF-8", where=self._path, received=str(error)) from error
        if self._quote:
            self.quotes += content.count(self._quote)
        buffer[: len(content)] = content
        return len(content)


def check_quotes(path: str, lines: Iterable[bytes], dialect: CsvDialect) -> None:
    """Looks whether a quoted field is open at the end; to be asked only where the quotes are odd in number.

    Args:
        path: of the file, for errors.
        lines: its text, without what the dialect leaves out.
        dialect: how it is written.

    Raises:
        UnreadableFile: one is, and took in all lines to the end.
    """
    quote, escape, delimiter = (text.encode() for text in (dialect.quote, dialect.escape, dialect.delimiter))
    number = opened_in = 0
    inside = False
    for number, line in enumerate(lines, 1 + dialect.skip_rows):
        at = line.find(quote)
        while at >= 0:
            after = at + 1
            if escape and _is_escaped(line, at, escape):
                pass
            elif not inside:
                # Only at a field's beginning does a quote open it.
                inside = at == 0 or line[at - 1 : at] == delimiter
                opened_in = number if inside else opened_in
            elif dialect.double_quote and line[after : after + 1] == quote:
                after += 1
            else:
                inside = False
            at = line.find(quote, after)
    if inside:
        raise UnreadableFile(
            "a quote is opened and never closed",
            where=f"{path}, line {opened_in}{' without the comments' if dialect.comment else ''}",
            expected="a closing quote in the same row",
            received=f"none in the {number - opened_in + 1:,} lines to the file's end",
            fix="Restore the file or correct the row; where quotes have no meaning, give --csv quote=none",
        )


def _is_escaped(line: bytes, at: int, escape: bytes) -> bool:
    before = line[:at]
    return bool((len(before) - len(before.rstrip(escape))) % 2)


def check_beginning(path: str, block: bytes) -> None:
    """Refuses what is not UTF-8, from the file's beginning.

    Raises:
        UnreadableFile: it is not.
    """
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableFile(
            "the file is not UTF-8",
            where=path,
            expected="text in UTF-8",
            received="UTF-16",
            fix="Give its encoding by --csv encoding=utf-16",
        )
    try:
        # A character that the block's end cuts in two is no fault.
        codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error.start, block.count(b"\n", 0, error.start) + 1, block[error.start]) from error


def check_utf8(path: str) -> None:
    """Finds the first byte of a whole file that is not UTF-8.

    Raises:
        UnreadableFile: there is one.
    """
    with opened(path) as file:
        offset = line = 0
        # No byte of a UTF-8 character but the last is a line break, so a line is decoded as a whole.
        for line, content in enumerate(io.BufferedReader(file, _BLOCK), 1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset + error.start, line, content[error.start]) from error
            offset += len(content)


def _not_utf8(path: str, offset: int, line: int, byte: int) -> UnreadableFile:
    return UnreadableFile(
        "the file is not UTF-8",
        where=f"{path}, line {line}",
        expected="text in UTF-8",
        received=f"byte 0x{byte:02x} at offset {offset}",
        fix="Save the file as UTF-8, convert it with iconv, or give its encoding by --csv, such as encoding=latin-1",
    )


def _zeros(path: str) -> UnreadableFile:
    """The error for a file with a zero byte, with the place of the first."""
    where, offset = path, 0
    with opened(path) as file:
        for line, content in enumerate(io.BufferedReader(file, _BLOCK), 1):
            if b"\0" in content:
                where, offset = f"{path}, line {line}", offset + content.index(b"\0")
                break
            offset += len(content)
    return UnreadableFile(
        "the file holds zero bytes, as a damaged disk or a broken transfer leaves them",
        where=where,
        expected="text",
        received=f"byte 0x00 at offset {offset}",
        fix="Restore the file; rows may be missing where the zeros are",
    )
