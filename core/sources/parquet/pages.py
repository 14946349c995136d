"""Pages of Parquet: bounds the memory that one page takes, by the sizes in its header, before it is decompressed.

A page is decompressed as a whole, and a file of 1 MB may hold one of 1 GB, or a value as large. A page of a dictionary
with one large value, and rows that repeat it, decode to more than any machine's memory, as do values that begin as the
one before them (DELTA_BYTE_ARRAY). A header is a struct of Thrift's compact protocol:
https://github.com/apache/parquet-format, parquet.thrift, PageHeader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.core.errors import UnreadableFile
from headrace.core.tfrecord import native

# Writers aim at pages of 1 MB, and write a larger value as a page of its own.
MAXIMUM_PAGE = 128 << 20
# A header has statistics, with two values.
_HEADER = 1 << 16
_UNCOMPRESSED, _COMPRESSED = 2, 3
_CODECS = {"LZ4": "lz4_raw"}


def check_pages(
    path: str, file: BinaryIO, metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str]
) -> None:
    """Checks the pages of those chunks of columns that are larger than a page may be.

    Args:
        path: of the file, for messages.
        file: opened; its position changes.
        metadata: of the file.
        groups: the row groups that are to be read.
        columns: the columns that are to be read.

    Raises:
        UnreadableFile: a page is too large, or a header is damaged.
    """
    for chunk in _chunks(metadata, groups, columns):
        if chunk.total_uncompressed_size > MAXIMUM_PAGE:
            _check_chunk(path, file, chunk)


def with_large_values(
    path: str, file: BinaryIO, metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str], size: int
) -> list[str]:
    """The columns of text or bytes with a dictionary that holds a value of more than `size` bytes.

    Args:
        path: of the file, for messages.
        file: opened; its position changes.
        metadata: of the file.
        groups: the row groups to check.
        columns: the columns to check; nested ones are not checked.
        size: of a value, in bytes.

    Raises:
        UnreadableFile: the header of a dictionary is damaged.
    """
    found: dict[str, None] = {}
    for chunk in _chunks(metadata, groups, columns):
        name = chunk.path_in_schema
        plain = chunk.physical_type == "BYTE_ARRAY" and chunk.dictionary_page_offset is not None
        if plain and name in columns and name not in found and chunk.total_uncompressed_size > size:
            begin, unpacked, packed = _header(path, file, chunk, chunk.dictionary_page_offset)
            if size < unpacked <= MAXIMUM_PAGE:
                file.seek(begin)
                if _longest(file.read(packed), unpacked, chunk.compression) > size:
                    found[name] = None
    return list(found)


def repeating(
    path: str, file: BinaryIO, metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str], size: int
) -> dict[str, int]:
    """The columns whose rows may repeat the bytes of others without a dictionary in Arrow, and their longest value.

    These are columns of bytes of a fixed size, and of values that begin as the one before them: such a value is at most
    as long as its page.

    Args:
        path: of the file, for messages.
        file: opened; its position changes.
        metadata: of the file.
        groups: the row groups to check.
        columns: the columns to check.
        size: columns of shorter values are left out, in bytes.

    Returns:
        By the column's name, the length of its longest value at most, in bytes.

    Raises:
        UnreadableFile: the header of a page is damaged.
    """
    found: dict[str, int] = {}
    for chunk in _chunks(metadata, groups, columns):
        longest = 0
        if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
            at = next(n for n in range(metadata.num_columns) if metadata.schema.column(n).path == chunk.path_in_schema)
            longest = metadata.schema.column(at).length
        elif "DELTA_BYTE_ARRAY" in chunk.encodings and chunk.total_uncompressed_size > size:
            longest = max((unpacked for _, unpacked in _pages(path, file, chunk)), default=0)
        if longest > size:
            name = chunk.path_in_schema.partition(".")[0]
            found[name] = max(found.get(name, 0), longest)
    return found


def values_of_lists(metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str]) -> dict[str, int]:
    """The number of values in the lists of columns, by name: a file of 1 kB may hold a list of a billion equal ones."""
    found: dict[str, int] = {}
    for chunk in _chunks(metadata, groups, columns):
        name, _, inner = chunk.path_in_schema.partition(".")
        if inner:
            found[name] = found.get(name, 0) + chunk.num_values
    return found


def _chunks(
    metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str]
) -> Iterator[pq.ColumnChunkMetaData]:
    wanted = set(columns)
    places = [at for at in range(metadata.num_columns) if metadata.schema.column(at).path.partition(".")[0] in wanted]
    for group in groups:
        row_group = metadata.row_group(group)
        yield from (row_group.column(at) for at in places)


def _longest(packed: bytes, unpacked: int, compression: str) -> int:
    """The length of the longest value of a dictionary's page, at most; each is 4 bytes of its length, and its bytes."""
    content = packed
    if compression != "UNCOMPRESSED":
        try:
            codec = _CODECS.get(compression, compression.lower())
            content = pa.decompress(packed, unpacked, codec=codec, asbytes=True)
        except (pa.ArrowException, ValueError, OSError):
            # Whether it is damaged is found when it is read.
            return unpacked
    return longest_value(content)


def longest_value(content: bytes) -> int:
    """The length of the longest of values that each follow their length, in 4 bytes; the last may be cut short."""
    compiled = native.library()
    if compiled is not None:
        found: int = compiled.headrace_longest(content, len(content))
        return found
    longest = at = 0
    while at + 4 <= len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        longest = max(longest, length)
        at += 4 + length
    return longest


def _header(path: str, file: BinaryIO, chunk: pq.ColumnChunkMetaData, at: int) -> tuple[int, int, int]:
    """Where the content of the page at `at` begins, and its sizes, uncompressed and compressed."""
    file.seek(at)
    reader = _Compact(file.read(_HEADER))
    try:
        sizes = reader.struct()
        unpacked, packed = sizes[_UNCOMPRESSED], sizes[_COMPRESSED]
        if min(unpacked, packed) < 0:
            raise ValueError(f"sizes of {unpacked} and {packed} bytes")
        return at + reader.at, unpacked, packed
    except (IndexError, KeyError, ValueError) as error:
        raise UnreadableFile(
            f'the header of a page of the column "{chunk.path_in_schema}" is damaged, or longer than 64 KiB',
            where=f"{path}, byte {at}",
            received=f"{type(error).__name__}: {error}",
        ) from error


def _pages(path: str, file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> Iterator[tuple[int, int]]:
    """Where each page of a chunk begins, and its size when it is decompressed."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        at = min(at, chunk.dictionary_page_offset)
    end = at + chunk.total_compressed_size
    while at < end:
        begin, unpacked, packed = _header(path, file, chunk, at)
        yield at, unpacked
        at = begin + packed


def _check_chunk(path: str, file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> None:
    for at, unpacked in _pages(path, file, chunk):
        if unpacked > MAXIMUM_PAGE:
            raise UnreadableFile(
                f'a page of the column "{chunk.path_in_schema}" is too large',
                where=f"{path}, byte {at}",
                expected=f"pages, and values, of at most {MAXIMUM_PAGE >> 20} MiB",
                received=f"a page of {unpacked:,} bytes",
                fix="Write the file with smaller values or pages (data_page_size), or leave the column out",
            )


class _Compact:
    """Reads Thrift's compact protocol: a struct's integers by the number of their field; the rest is skipped."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """The integers of a struct.

        Raises:
            IndexError: it does not end within the content.
            ValueError: it is not a valid one.
        """
        if depth > 8:
            raise ValueError("structs are nested too deeply")
        found: dict[int, int] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._integer()
            value = self._value(kind & 15, depth)
            if value is not None:
                found[number] = value
        return found

    def _value(self, kind: int, depth: int) -> int | None:
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 3:
            self._skip(1)
        elif kind == 7:
            self._skip(8)
        elif kind == 8:
            self._skip(self._varint())
        elif kind == 12:
            self.struct(depth + 1)
        elif kind not in (1, 2):
            # Booleans are in their type. A header has neither lists nor maps.
            raise ValueError(f"a value of type {kind}")
        return None

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise IndexError("the header does not end")

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("an integer of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
