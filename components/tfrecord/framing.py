"""Writes records as TFRecord files: each record framed by its length and by masked CRC-32C checksums.

The format, as TensorFlow documents it: uint64 length, uint32 masked CRC of the length, the bytes, uint32 masked CRC of
the bytes; little-endian throughout.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components import storage
from headrace.components.tfrecord.encoding import by_length, offsets_of

_MASK_DELTA = 0xA282EAD8


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, rotated and offset as TFRecord stores it, so that the checksum of a checksum stays a good one."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(records: pa.LargeBinaryArray) -> bytes:
    """All records of a batch as they stand in a TFRecord file, in one buffer.

    Args:
        records: serialized Examples, or any other bytes; no nulls.
    """
    if len(records) == 0:
        return b""
    offsets = offsets_of(records)
    head = by_length(np.diff(offsets), _head)
    tail = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(4), len(records), [None, pa.py_buffer(_checksums(records, offsets))]
    ).cast(pa.large_binary())
    framed = pc.binary_join_element_wise(head, records, tail, pa.scalar(b"", pa.large_binary()))
    bounds = offsets_of(framed)
    content: bytes = framed.buffers()[2][int(bounds[0]) : int(bounds[-1])].to_pybytes()
    return content


def _head(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc32c(packed))


def _checksums(records: pa.LargeBinaryArray, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """The masked CRC of each record: one call into C a record, the only work here that is not done by columns."""
    values = records.buffers()[2]
    # google_crc32c wants bytes; slices of one bytes object are cheaper than a Python object made by Arrow for each.
    content = b"" if values is None else values[int(offsets[0]) : int(offsets[-1])].to_pybytes()
    bounds = (offsets - offsets[0]).tolist()
    value = google_crc32c.value
    crc = np.fromiter((value(content[start:end]) for start, end in pairwise(bounds)), np.uint32, len(records))
    return ((crc >> 15 | crc << 17) + np.uint32(_MASK_DELTA)).astype("<u4")


class TFRecordWriter:
    """Writes one TFRecord file, which gets its name when it is whole.

    Attributes:
        rows: records written.
        bytes: bytes written.
        crc32c: checksum of the bytes written, as 8 hexadecimal digits.
    """

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self.bytes = 0
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.unfinished")
        self._checksum = google_crc32c.Checksum()

    @property
    def crc32c(self) -> str:
        """Checksum of the bytes written, as 8 hexadecimal digits."""
        return bytes(self._checksum.digest()).hex()

    def write(self, records: pa.LargeBinaryArray) -> None:
        """Appends records, with one write.

        Raises:
            PlatformError: the disk is full or failed.
        """
        content = frame(records)
        with storage.writing(str(self._path)):
            self._file.write(content)
        self._checksum.update(content)
        self.rows += len(records)
        self.bytes += len(content)

    def __enter__(self) -> Self:
        with storage.writing(str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished.open("wb", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is not None:
            self._unfinished.unlink(missing_ok=True)
            return
        with storage.writing(str(self._path)):
            self._unfinished.replace(self._path)
