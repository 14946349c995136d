"""Native encoding: frames, encodes and verifies records by native.c."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.tfrecord.pieces import DictionaryPiece, bounds

Integers = npt.NDArray[np.int64]


class _Part(ctypes.Structure):
    _fields_ = (
        ("content", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("codes", ctypes.c_void_p),
        ("entries", ctypes.c_int64),
    )


def frames(
    compiled: Any, parts: Sequence[DictionaryPiece], rows: int, *, is_example: bool, block_bytes: int
) -> Iterator[pa.Buffer]:
    """Frames records, in blocks of about `block_bytes` bytes and at least one record.

    Args:
        compiled: from `native.library`.
        parts: of each record, concatenated in order.
        rows: number of records.
        is_example: whether the parts are entries of Features, which an Example's tag and length precede.
        block_bytes: at least 1.

    Raises:
        ValueError: a part has a code that is not one of its entries.
    """
    held = [(np.ascontiguousarray(part.content), bounds(part.lengths), _codes(part, rows)) for part in parts]
    table = (_Part * len(parts))(
        *(
            _Part(content.ctypes.data, offsets.ctypes.data, codes.ctypes.data, len(offsets) - 1)
            for content, offsets, codes in held
        )
    )
    lengths = np.empty(rows, np.int64)
    total = compiled.headrace_measure(table, len(parts), rows, is_example, lengths.ctypes.data)
    if total < 0:
        raise ValueError(
            f"part {-total - 1} has a code that is not one of its {len(parts[-total - 1].lengths)} entries"
        )
    written, start = ctypes.c_int64(), 0
    # Before a record's parts: its length and checksum, and an Example's tag and length; after them a checksum.
    largest = int(lengths.max(initial=0)) + 32
    room = min(total, max(block_bytes, largest))
    while start < rows:
        block = np.empty(room, np.uint8)
        start = compiled.headrace_frame(
            table,
            len(parts),
            start,
            rows,
            is_example,
            lengths.ctypes.data,
            block.ctypes.data,
            room,
            ctypes.byref(written),
        )
        yield pa.py_buffer(block[: written.value])


def integers(compiled: Any, values: Integers, headers: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], Integers]:
    """Encodes an entry for each value; returns them concatenated, and their lengths.

    Args:
        compiled: from `native.library`.
        values: [rows].
        headers: by the number of bytes of the varint that follows, 0 to 10.
    """
    if len(headers) != 11:
        raise ValueError(f"there must be 11 headers, got {len(headers)}")
    values = np.ascontiguousarray(values)
    joined = np.frombuffer(b"".join(headers), np.uint8)
    starts = bounds(np.array([len(header) for header in headers]))
    content = np.empty(len(values) * (max(map(len, headers)) + 10), np.uint8)
    lengths = np.empty(len(values), np.int64)
    size = compiled.headrace_integers(
        values.ctypes.data,
        len(values),
        joined.ctypes.data,
        starts.ctypes.data,
        content.ctypes.data,
        lengths.ctypes.data,
    )
    return content[:size], lengths


def checksums(compiled: Any, content: bytes, starts: Integers, stops: Integers) -> npt.NDArray[np.uint32]:
    """The masked CRC-32C of records within `content`.

    Args:
        compiled: from `native.library`.
        content: of a file.
        starts, stops: [rows], of the records' bytes.

    Raises:
        ValueError: a record is not within the content.
    """
    if len(starts) and (starts.min() < 0 or stops.max() > len(content) or (stops < starts).any()):
        raise ValueError("a record is not within the content")
    found = np.empty(len(starts), np.uint32)
    source = np.frombuffer(content, np.uint8)
    compiled.headrace_checksums(
        source.ctypes.data, starts.ctypes.data, stops.ctypes.data, len(starts), found.ctypes.data
    )
    return found


def _codes(part: DictionaryPiece, rows: int) -> npt.NDArray[np.int32]:
    if len(part.codes) != rows or int(part.lengths.sum()) > len(part.content):
        raise ValueError(f"a part has {len(part.codes)} codes for {rows} rows, or fewer bytes than its entries need")
    return np.ascontiguousarray(part.codes, np.int32)
