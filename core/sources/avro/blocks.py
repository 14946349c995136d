"""Avro blocks: each is measured before it is decompressed, and its rows are read with what is wrong in one of them.

A value that cannot be decoded costs its row: the rows after it are found by reading values as they were written.
"""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException

from headrace.core import storage
from headrace.core.errors import UnreadableFile
from headrace.core.sources.avro.parts import MAXIMUM_ROW, BlockPart, decode_row
from headrace.core.sources.avro.schema import Definitions, is_scalar, minimum_width, named_types, physical
from headrace.core.sources.faulty_rows import SHOWN
from headrace.core.sources.open_file import damaged, reading

# Exceptions of fastavro for a damaged block, in addition to those for any file.
_BROKEN = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    StopIteration,
    RecursionError,
    SchemaParseException,
)
# Maximum size of a block without compression: as a file of 1 MB may hold a block of 1 GB, a limit bounds the memory.
MAXIMUM_BLOCK = 128 << 20
# The codecs whose blocks `_unpacked_size` measures. fastavro reads others where their packages are installed.
_CODECS = ("null", "deflate", "bzip2", "xz")
# Rows of a block that are decoded together: a block of few bytes may hold millions.
_ROWS_AT_ONCE = 10_000
# Deflate is at most this many times shorter than its content.
_DEFLATE_RATIO = 1032


@dataclass(frozen=True)
class Undecodable:
    """A value that could not be decoded.

    Attributes:
        written: the value as it was written.
        error: why.
    """

    written: Any
    error: str


class Fields:
    """The fields of a file's records, and the schemas by which some of them are read.

    Args:
        path: the file, for errors.
        schema: the file's schema.

    Raises:
        UnreadableFile: it has no rows, or is one that a few bytes could abuse.
    """

    def __init__(self, path: str, schema: Any) -> None:
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise UnreadableFile(
                "the file does not hold rows", where=path, expected="Avro records", received=str(schema)[:300]
            )
        self.path = path
        self.width = _record_width(path, schema)
        self._schema = schema
        self._named = named_types(schema)
        definitions = Definitions(self._named)
        self.kinds = {field["name"]: definitions.of(field["type"]) for field in schema["fields"]}

    @cached_property
    def _physical(self) -> dict[str, Any]:
        memo: dict[str, Any] = {}
        return {field["name"]: physical(field["type"], self._named, memo) for field in self._schema["fields"]}

    def record(self, decoded: Sequence[str] = (), count: int | None = None) -> dict[str, Any]:
        """A schema of records, in which values are as they were written.

        Args:
            decoded: fields whose values have the types of the file's schema instead.
            count: how many of the first fields it has; None for all.
        """
        chosen = dict.fromkeys(decoded)
        kinds = [(name, self.kinds[name] if name in chosen else kind) for name, kind in self._physical.items()]
        fields = [{"name": name, "type": kind} for name, kind in kinds[:count]]
        return {"type": "record", "name": self._schema["name"], "fields": fields}

    def nested(self, columns: Sequence[str]) -> list[str]:
        """Those of some columns that fastavro decodes, as their values are of several types, or hold others."""
        return [name for name in columns if not is_scalar(self.kinds[name])]

    def rows(self, block: Any, columns: Sequence[str], first: int) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """Yields the rows of a block in parts, and how many bytes each part has: scalar values as they were written,
        others with the types of the schema, or Undecodable.

        Args:
            block: of fastavro's block_reader.
            columns: the columns that are wanted; others are as they were written.
            first: number of the block's first row.

        Raises:
            UnreadableFile: the rows are fewer or more than the block's number of them, or one has no end.
        """
        size = block.bytes_.getbuffer().nbytes
        if not 0 <= block.num_records * self.width <= size:
            raise UnreadableFile(
                "a block has more rows than its bytes can hold",
                where=self.path,
                expected=f"at most {size // self.width:,} rows in {size:,} bytes",
                received=f"{block.num_records:,}",
            )
        nested = self.nested(columns)
        schema = self.record(nested)
        number = end = 0
        while number < block.num_records:
            begin = end
            part = BlockPart(block, begin, min(_ROWS_AT_ONCE, block.num_records - number), schema)
            try:
                rows = list(part.rows())
                end = part.end
            except (*_BROKEN, EOFError):
                ends = self._ends(block, begin, part.count, first + number)
                rows, end = self._one_by_one(block, ends, nested), ends[-1]
            number += len(rows)
            yield rows, end - begin
            # Not in memory beside the next ones.
            del rows
        if end != size:
            raise UnreadableFile(
                "a block has more bytes than its rows",
                where=self.path,
                expected=f"{block.num_records:,} rows in {size:,} bytes",
                received=f"{end:,} bytes of rows",
            )

    def _one_by_one(self, block: Any, ends: Sequence[int], nested: Sequence[str]) -> list[dict[str, Any]]:
        """The rows between some ends."""
        schema = self.record(nested)
        rows = []
        for begin, end in pairwise(ends):
            record = bytes(block.bytes_.getbuffer()[begin:end])
            try:
                rows.append(decode_row(block, record, schema))
            except (*_BROKEN, EOFError):
                rows.append(self._with_faults(block, record, nested))
        return rows

    def _ends(self, block: Any, begin: int, count: int, first: int) -> list[int]:
        """The begin of a row in a block, and the ends of it and the rows after it, at most `count`.

        Raises:
            UnreadableFile: a row has no end.
        """
        part = BlockPart(block, begin, count, self.record())
        ends = [begin]
        try:
            for _ in part.rows():
                ends.append(part.end)  # noqa: PERF401 - those before an error stay
        except (*_BROKEN, EOFError) as error:
            cut = part.cut(ends[-1])
            column = self._broken_column(block, bytes(block.bytes_.getbuffer()[ends[-1] : cut]))
            raise UnreadableFile(
                "a value cannot be read, and so the rows after it cannot be found",
                where=f'{self.path}, row {first + len(ends) - 1}, column "{column}"',
                expected=None if cut is None else f"a row of at most {MAXIMUM_ROW >> 20} MiB",
                received=str(error).splitlines()[0][:SHOWN] if str(error) else type(error).__name__,
                fix="Write the file again",
            ) from error
        return ends

    def _broken_column(self, block: Any, content: bytes) -> str:
        """The first column that cannot be read of a row that begins the content."""

        def breaks(count: int) -> bool:
            try:
                decode_row(block, content, self.record(count=count))
            except (*_BROKEN, EOFError):
                return True
            return False

        names = list(self.kinds)
        # The last one, if none of those before it breaks.
        column: str = names[bisect_left(range(1, len(names)), True, key=breaks)]
        return column

    def _with_faults(self, block: Any, record: bytes, nested: Sequence[str]) -> dict[str, Any]:
        row = decode_row(block, record, self.record())
        for name in nested:
            try:
                row[name] = decode_row(block, record, self.record([name]))[name]
            except (*_BROKEN, EOFError) as error:
                row[name] = Undecodable(row[name], str(error) or type(error).__name__)
        return row


@contextmanager
def opened_blocks(path: str) -> Iterator[tuple[Any, Any]]:
    """The file, and its blocks; text in them that is not UTF-8 has surrogates for its bytes.

    Raises:
        UnreadableFile: the file is damaged, or has another format.
    """
    with reading(path, "Avro"), storage.open_input(path) as file:
        try:
            blocks = fastavro.block_reader(file, handle_unicode_errors="surrogateescape")
            if blocks.codec not in _CODECS:
                raise UnreadableFile(
                    "the compression of the file is not supported",
                    where=path,
                    expected=f"{', '.join(_CODECS[:-1])} or {_CODECS[-1]}",
                    received=str(blocks.codec)[:SHOWN],
                    fix="Write the file with one of these codecs",
                )
            yield file, blocks
        except _BROKEN as error:
            raise damaged(path, "Avro", error) from error


def bounded(path: str, file: Any, blocks: Any) -> Iterator[Any]:
    """The blocks, of which each is measured before it is decompressed.

    Raises:
        UnreadableFile: one is longer than MAXIMUM_BLOCK.
    """
    while True:
        start = file.tell()
        with suppress(*_BROKEN, OSError, EOFError, lzma.LZMAError):
            # What is damaged is found and named when the block is read.
            size = _unpacked_size(file, blocks.codec)
            if size > MAXIMUM_BLOCK:
                raise UnreadableFile(
                    "a block is too long",
                    where=f"{path}, byte {start}",
                    expected=f"at most {MAXIMUM_BLOCK >> 20} MiB without compression",
                )
        file.seek(start)
        block = next(blocks, None)
        if block is None:
            return
        yield block


def _unpacked_size(file: Any, codec: str) -> int:
    """The size of the next block's content, or a little more than `MAXIMUM_BLOCK`; 0 if it is surely short."""
    if codec == "null":
        return 0
    _rows, packed = _read_long(file), _read_long(file)
    if codec == "deflate" and packed * _DEFLATE_RATIO <= MAXIMUM_BLOCK:
        return 0
    content = file.read(packed)
    if codec == "deflate":
        return len(zlib.decompressobj(-15).decompress(content, MAXIMUM_BLOCK + 1))
    opened = bz2.open if codec == "bzip2" else lzma.open
    with opened(io.BytesIO(content)) as stream:
        unpacked: bytes = stream.read(MAXIMUM_BLOCK + 1)
    return len(unpacked)


def _read_long(file: Any) -> int:
    """A number as Avro writes it: 7 bits per byte, the lowest first, zigzag."""
    value = 0
    for shift in range(0, 70, 7):
        byte: int = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1)
    raise ValueError("a number of more than 10 bytes")


def _record_width(path: str, schema: Any) -> int:
    """The minimum size of a record in bytes, 1 or more."""
    try:
        width = minimum_width(schema)
    except ValueError as error:
        raise UnreadableFile("the file's schema is refused", where=path, received=str(error)) from error
    if not width:
        raise UnreadableFile(
            "the file's records have no content", where=path, expected="a column that is not null", received="none"
        )
    return width
