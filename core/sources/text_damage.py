"""Damage check of text while it is read: bytes that are not text, and a quote that is never closed.

A parser accepts both and merges many rows into one: rows would be lost without a message.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable
from typing import Any

from headrace.core.errors import UnreadableFile
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open_file import opened_text

_BLOCK = 1 << 20
# These encodings contain zero bytes.
_WIDE = ("utf-16", "utf-32")


class WatchedText(io.RawIOBase):
    """A stream that refuses bytes that are not text of the dialect, and counts its quotes.

    Args:
        file: the file.
        path: its name, for errors.
        dialect: with its encoding and its quote.
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
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` with text.

        Raises:
            UnreadableFile: a byte is zero, or not UTF-8 in a dialect of UTF-8.
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
    """Checks that no quoted field is open at the end; only necessary if the number of quotes is odd.

    Args:
        path: of the file, for errors.
        lines: its text, without the lines that the dialect skips.
        dialect: of the file.

    Raises:
        UnreadableFile: a field is open and contains all lines to the end.
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
                # A quote opens a field only at its beginning.
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
            received=f"no closing quote in the {number - opened_in + 1:,} lines to the file's end",
            fix="Restore the file or correct the row; if quotes have no special meaning, use --csv quote=none",
        )


def _is_escaped(line: bytes, at: int, escape: bytes) -> bool:
    before = line[:at]
    return bool((len(before) - len(before.rstrip(escape))) % 2)


def check_beginning(path: str, block: bytes) -> None:
    """Refuses a file whose beginning is not UTF-8.

    Raises:
        UnreadableFile: it is not UTF-8.
    """
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableFile(
            "the file is not UTF-8",
            where=path,
            expected="text in UTF-8",
            received="UTF-16",
            fix="Set its encoding with --csv encoding=utf-16",
        )
    try:
        # A character that is split by the end of the block is no error.
        codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error.start, block.count(b"\n", 0, error.start) + 1, block[error.start]) from error


def check_utf8(path: str) -> None:
    """Finds the first byte of a file that is not UTF-8.

    Raises:
        UnreadableFile: there is such a byte.
    """
    with opened_text(path) as file:
        offset = line = 0
        # A line break is never part of a longer UTF-8 character, so each line can be decoded separately.
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
        fix="Save the file as UTF-8, convert it with iconv, or set its encoding with --csv, such as encoding=latin-1",
    )


def _zeros(path: str) -> UnreadableFile:
    """The error for a file with a zero byte, with the position of the first."""
    where, offset = path, 0
    with opened_text(path) as file:
        for line, content in enumerate(io.BufferedReader(file, _BLOCK), 1):
            if b"\0" in content:
                where, offset = f"{path}, line {line}", offset + content.index(b"\0")
                break
            offset += len(content)
    return UnreadableFile(
        "the file contains zero bytes, a sign of a damaged disk or a broken transfer",
        where=where,
        expected="text",
        received=f"byte 0x00 at offset {offset}",
        fix="Restore the file; rows may be missing at the zero bytes",
    )
