"""Lines of JSON text: the rows of JSON lines, or of one array of objects, with a maximum length per row."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from headrace.core.errors import UnreadableFile
from headrace.core.sources.open_file import opened_text, reading

# Maximum length of a row: one line of a small compressed file can exceed the memory.
MAXIMUM_LINE = 16 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_LINE_FEED, _BLANK = 10, 32
# Whether a byte is part of a text between blanks, of each of the 256.
_IS_TEXT = np.array([not bytes([byte]).isspace() for byte in range(256)])
# Where fewer bytes are text, most lines are blank, or begin with many blanks.
_USUAL_TEXT = 8
# Text between two values of an array.
_NO_VALUE = re.compile(r"[ \t\r\n,]*")


@dataclass(frozen=True)
class Lines:
    """Non-blank lines with their line feeds; they are only split where they are needed one by one.

    Attributes:
        content: the lines, concatenated.
    """

    content: bytes

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Self:
        """Lines that were split."""
        return cls(b"".join(lines))

    @cached_property
    def split(self) -> list[bytes]:
        """Each line."""
        return self.content.splitlines(keepends=True)

    @cached_property
    def count(self) -> int:
        """Number of lines."""
        # A carriage return alone ends a line too.
        return len(self.split) if b"\r" in self.content else self.content.count(b"\n")


def line_blocks(path: str, size: int) -> Iterator[Lines]:
    """Blocks of about `size` bytes of non-blank lines; an object of an array is one line.

    Raises:
        DataError: the file does not exist.
        UnreadableFile: it is damaged, has too many blanks, or a line is longer than MAXIMUM_LINE.
    """
    with reading(path, "JSON lines"), opened_text(path) as file:
        begun = False
        rest = b""
        while content := file.read(size):
            if b"\0" in content:
                raise UnreadableFile(
                    "the file contains zero bytes, a sign of a damaged disk or a broken transfer",
                    where=path,
                    fix="Restore the file; rows may be missing at the zero bytes",
                )
            if not begun:
                content = (rest + content).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANKS)
                rest = b""
                if not content:
                    continue
                begun = True
                if content.startswith(b"["):
                    yield from _array(path, file, content, size)
                    return
            end = content.rfind(b"\n") + 1
            if not end:
                rest += content
                _check_length(path, rest)
                continue
            lines = _lines(rest + content[:end] if rest else content[:end])
            rest = content[end:]
            if lines.content:
                yield lines
        if rest := rest.strip(_BLANKS):
            yield Lines(rest + b"\n")


def _lines(content: bytes) -> Lines:
    """The lines of a block, which ends in a line feed, without blank ones."""
    view = np.frombuffer(content, np.uint8)
    if np.count_nonzero(view > _BLANK) < len(content) // _USUAL_TEXT:
        content = b"".join(_with_text(content, np.flatnonzero(_IS_TEXT[view]).tolist()))
        return Lines.of([line for line in content.splitlines(keepends=True) if not line.isspace()])
    # This takes a tenth of the time of splitting, or of searching for two bytes.
    ends = np.flatnonzero(view == _LINE_FEED)
    begins = view[np.concatenate([[0], ends[:-1] + 1])]
    if b"\r" not in content and not (begins <= _BLANK).any():
        return Lines(content)
    return Lines.of([line for line in content.splitlines(keepends=True) if not line.isspace()])


def _with_text(content: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """Yields the lines that have text at some places, whose lines only are looked for."""
    end = 0
    for place in places:
        if place >= end:
            start, end = content.rfind(b"\n", 0, place) + 1, content.index(b"\n", place) + 1
            yield content[start:end]


def _check_length(path: str, line: bytes) -> None:
    if len(line) > MAXIMUM_LINE:
        raise UnreadableFile(
            "a row is too long",
            where=path,
            expected=f"rows of at most {MAXIMUM_LINE >> 20} MiB, each on a separate line",
            received=f"a row that begins with {line[:60].decode('utf-8', 'replace')!a}",
        )


def _array(path: str, file: Any, content: bytes, size: int) -> Iterator[Lines]:
    """The values of one array, each as one line; the array may have any number of lines."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines: list[bytes] = []
    held = 0
    ended = False
    try:
        text, at = decoder.decode(content), 1
        while True:
            at = _NO_VALUE.match(text, at).end()  # type: ignore[union-attr]
            if text[at : at + 1] == "]":
                break
            try:
                end = _end(text, at)
            except json.JSONDecodeError as error:
                if ended:
                    raise _not_closed(path, text[at:], str(error)) from error
                text, at = text[at:], 0
                _check_length(path, text.encode())
                more = file.read(max(size, len(text)))
                ended = not more
                text += decoder.decode(more, final=ended)
                continue
            lines.append(text[at:end].replace("\n", " ").replace("\r", " ").encode() + b"\n")
            held += end - at
            at = end
            if held >= size:
                yield Lines.of(lines)
                lines, held = [], 0
    except (UnicodeDecodeError, RecursionError) as error:
        raise _not_closed(path, "", str(error)) from error
    if lines:
        yield Lines.of(lines)


# Characters of a value that is nested too deeply for Python's parser: scanning one takes microseconds per bracket.
_MAXIMUM_DEEP = 1 << 20
# Numbers are converted line by line: Python converts none of more than 4,300 digits.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)
# The pieces of JSON that say how deep a value is nested: texts, openings, closings, and a text that does not end.
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]+|[\]}]+|"', re.DOTALL)


def _end(text: str, at: int) -> int:
    """The end of the value that begins at an index.

    Raises:
        json.JSONDecodeError: the value does not end in the text.
        RecursionError: it is nested too deeply for Python, and long.
    """
    try:
        return _SCANNER.raw_decode(text, at)[1]
    except RecursionError:
        pass
    depth, limit = 0, at + _MAXIMUM_DEEP
    for piece in _NESTING.finditer(text, at, limit):
        found = piece[0]
        if found == '"':
            break
        if found[0] in "[{":
            depth += len(found)
        elif found[0] in "]}":
            if len(found) >= depth:
                return piece.start() + depth
            depth -= len(found)
    if len(text) > limit:
        raise RecursionError(f"a value is nested too deeply, and has more than {_MAXIMUM_DEEP >> 20} MiB")
    raise json.JSONDecodeError("a value does not end", text, at)


def _not_closed(path: str, text: str, received: str) -> UnreadableFile:
    return UnreadableFile(
        "the file begins as an array and is not a valid one",
        where=path,
        expected="an array of objects, or one object on each line",
        received=f"{received} at {text[:60]!a}" if text else received,
    )
