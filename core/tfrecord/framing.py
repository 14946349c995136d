"""TFRecord framing: writes and reads records framed by their length and by masked CRC-32C checksums.

The format, as documented by TensorFlow: uint64 length, uint32 masked CRC of the length, the bytes, uint32 masked CRC of
the bytes; little-endian throughout. A compressed file is one gzip stream of that.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.tfrecord import native, native_encoding
from headrace.core.tfrecord.checksum import MASK_DELTA, masked_crc32c
from headrace.core.tfrecord.encoding import example_header, features
from headrace.core.tfrecord.pieces import DictionaryPiece, Pieces, contents, data_of

# Bytes before and after a record: its length and the checksum of that; the checksum of its bytes.
_HEAD, _TAIL = 12, 4
# Size of a block in bytes: small enough to be still in the processor's cache when it is checked and written.
_BLOCK_BYTES = 256 << 10
# Default `gzip_level`: higher levels cost far more time than they save space here.
GZIP_LEVEL = 1


def frame(records: pa.LargeBinaryArray) -> bytes:
    """Frames all records of a batch as in a TFRecord file, in one buffer.

    Args:
        records: bytes, such as serialized Examples; no nulls.
    """
    return b"".join(_frame(records))


def frame_examples(batch: pa.RecordBatch) -> Iterator[pa.Buffer]:
    """Equal to `frame(encode(batch))`, in blocks of rows that fit into the processor's caches.

    A record is copied once, from its columns to its position in the file.

    Args:
        batch: as for `encode`, whose errors this raises too.
    """
    return _frame_parts(features(batch), batch.num_rows, is_example=True)


def _frame(records: pa.LargeBinaryArray) -> Iterator[pa.Buffer]:
    return _frame_parts([DictionaryPiece.of_rows(*contents(records))], len(records), is_example=False)


def _frame_parts(parts: Sequence[DictionaryPiece], rows: int, *, is_example: bool) -> Iterator[pa.Buffer]:
    """Frames records, each the concatenation of its parts; those of an Example follow its header."""
    if not rows:
        return iter(())
    compiled = native.library()
    if compiled is None:
        return _frames_by_columns(parts, rows, example_header if is_example else lambda _: b"")
    return native_encoding.frames(compiled, parts, rows, is_example=is_example, block_bytes=_BLOCK_BYTES)


def _frames_by_columns(
    parts: Sequence[DictionaryPiece], rows: int, before: Callable[[int], bytes]
) -> Iterator[pa.Buffer]:
    """The same without native.c: each record is `before(length)` and then its parts, of `length` bytes."""
    lengths = np.zeros(rows, np.int64)
    for part in parts:
        lengths += part.row_lengths()
    gap = bytes(_TAIL)
    formats = [""]

    def head(length: int) -> bytes:
        begin = before(length)
        formats.append(f"{_HEAD}x{len(begin) + length}s{_TAIL}x")
        return gap + _head(len(begin) + length) + begin

    # Before its head, each record has the space of its predecessor's checksum, which saves one part per row.
    heads = DictionaryPiece.by_length(lengths, head)
    ends = np.cumsum(lengths + heads.row_lengths())
    heads_and_gap = DictionaryPiece(
        np.concatenate([heads.content, np.zeros(_TAIL, np.uint8)]), np.append(heads.lengths, _TAIL), heads.codes
    )
    pieces = Pieces([heads_and_gap, *parts])
    step = max(1, rows * _BLOCK_BYTES // int(ends[-1]))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        data = data_of(pieces.take(start, stop, more=[len(heads.lengths) + 1]))
        if not data.is_mutable:
            data = pa.py_buffer(bytearray(data))
        form = "".join(map(formats.__getitem__, heads.codes[start:stop].tolist()))
        checksums = _checksums(struct.unpack_from(form, data, _TAIL))
        places = ends[start:stop] - (ends[start - 1] if start else 0)
        # A view of the bytes as a number at every offset; those of the checksums are set.
        np.ndarray((data.size - _TAIL + 1,), "<u4", data, strides=(1,))[places] = checksums
        yield data.slice(_TAIL, int(places[-1]))


def _head(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc32c(packed))


def _checksums(records: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """The masked CRC of each record, by one call into C per record."""
    return _masked(np.fromiter(map(google_crc32c.value, records), np.uint32, len(records)))


def _masked(crc: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    return ((crc >> 15 | crc << 17) + np.uint32(MASK_DELTA)).astype("<u4")


class TFRecordWriter:
    """Writes one TFRecord file atomically: it gets its name when it is complete.

    Args:
        path: of the file; its folder is created if needed.
        gzip_level: None for no compression, or 1 (about half as fast as none; GZIP_LEVEL) to 9 (smallest).

    Attributes:
        rows: records written.
        bytes: bytes written, after compression; final when the writer is closed.
        crc32c: checksum of these bytes, 8 hexadecimal digits.

    Raises:
        UsageError: a gzip level outside its range; a path that cannot be written.
    """

    def __init__(self, path: Path, *, gzip_level: int | None = None) -> None:
        if gzip_level is not None and not 1 <= gzip_level <= 9:
            raise UsageError("the gzip level is not valid", expected="1 to 9", received=repr(gzip_level))
        # zlib's own gzip header contains no time and no name, so equal records give equal bytes.
        self._gzip = None if gzip_level is None else zlib.compressobj(gzip_level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
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
        """Appends records.

        Raises:
            PlatformError: the disk is full or failed.
        """
        self._append(_frame(records), len(records))

    def write_examples(self, batch: pa.RecordBatch) -> None:
        """Appends each row as a tf.train.Example; faster than `write(encode(batch))`.

        Raises:
            DataError, ValueError: as `encode`; nothing of the batch is written then.
            PlatformError: the disk is full or failed.
        """
        self._append(frame_examples(batch), batch.num_rows)

    def _append(self, blocks: Iterator[pa.Buffer], rows: int) -> None:
        for block in blocks:
            self._put(block if self._gzip is None else self._gzip.compress(block))
        self.rows += rows

    def _put(self, content: bytes | pa.Buffer) -> None:
        with storage.writing(str(self._path)):
            self._file.write(content)
        self._checksum.update(content)
        self.bytes += memoryview(content).nbytes

    def __enter__(self) -> Self:
        with storage.writing(str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished.open("wb", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._file.close()
            self._unfinished.unlink(missing_ok=True)
            return
        try:
            if self._gzip is not None:
                self._put(self._gzip.flush())
        finally:
            self._file.close()
        with storage.writing(str(self._path)):
            self._unfinished.replace(self._path)


def read_records(
    file: str | PathLike[str] | BinaryIO,
    *,
    compressed: bool,
    name: str | None = None,
    block_bytes: int = 4 << 20,
    maximum_bytes: int | None = None,
) -> Iterator[pa.LargeBinaryArray]:
    """Reads the records of a TFRecord file in order, and verifies every checksum.

    Args:
        file: a local path, or an open binary file, which is left open.
        compressed: whether it is a gzip stream, of one or several members.
        name: of the file in errors; its path, or the `name` of an open file, by default.
        block_bytes: approximate bytes per read, at least 1; memory holds a few times that, or the longest record.
        maximum_bytes: of a record; None for no limit. A short gzip stream may hold a very long record.

    Yields:
        Batches of at least one record; none for an empty file.

    Raises:
        DataError: the file does not exist; it ends within a record; a checksum is wrong; a record is
            longer than `maximum_bytes`; it is not gzip, or damaged gzip. The message has the file and the offset of
            the record (in the uncompressed content).
        PlatformError: the file cannot be read.
    """
    if isinstance(file, str | PathLike):
        path = Path(file)
        where = name or str(path)
        with _reading(where), path.open("rb") as opened:
            yield from _read(opened, compressed, where, block_bytes, maximum_bytes)
    else:
        where = name or str(getattr(file, "name", "the file"))
        with _reading(where):
            yield from _read(file, compressed, where, block_bytes, maximum_bytes)


def _read(
    file: BinaryIO, compressed: bool, where: str, block_bytes: int, maximum_bytes: int | None
) -> Iterator[pa.LargeBinaryArray]:
    source = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb")) if compressed else file
    heads: dict[bytes, bytes] = {}
    content, begin, missing = b"", 0, 0
    while True:
        read = _read_block(source, max(block_bytes, missing), f"{where}, after byte {begin + len(content)}")
        content += read
        records, used, missing = _take_records(content, heads, where, begin)
        if len(records):
            yield records
        content = content[used:]
        begin += used
        if maximum_bytes is not None and missing > maximum_bytes:
            raise DataError(
                "a record is too long",
                where=f"{where}, byte {begin}",
                expected=f"records of at most {maximum_bytes >> 20} MiB",
                received=f"{missing + len(content) >> 20:,} MiB",
            )
        if not read:
            break
    if content:
        raise DataError(
            "the file ends within a record",
            where=f"{where}, byte {begin}",
            expected=f"{missing} more bytes",
            fix="The file is incomplete: write or copy it again",
        )


def _read_block(source: BinaryIO, size: int, where: str) -> bytes:
    try:
        return source.read(size) or b""
    except EOFError as error:
        raise DataError("the gzip stream ends too early", where=where, received=str(error)) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError("the gzip stream is damaged", where=where, received=str(error)) from error


def _take_records(
    content: bytes, heads: dict[bytes, bytes], where: str, begin: int
) -> tuple[pa.LargeBinaryArray, int, int]:
    """The complete records at the head of `content`, their total bytes, and the bytes missing for the next record."""
    records: list[bytes] = []
    places: list[int] = []
    end, at = len(content), 0
    missing = 0
    while at < end:
        if at + _HEAD > end:
            missing = at + _HEAD - end
            break
        packed = content[at : at + 8]
        if content[at + 8 : at + _HEAD] != heads.get(packed):
            # A file has few distinct lengths, so the checksums of lengths are cached.
            heads[packed] = _head(int.from_bytes(packed, "little"))[8:]
            if content[at + 8 : at + _HEAD] != heads[packed]:
                raise _damaged("the checksum of a record's length is wrong", where, begin + at)
        start = at + _HEAD
        stop = start + int.from_bytes(packed, "little")
        if stop + _TAIL > end:
            missing = stop + _TAIL - end
            break
        records.append(content[start:stop])
        places.append(stop)
        at = stop + _TAIL
    lengths = np.fromiter(map(len, records), np.int64, len(records))
    offsets = np.zeros(len(records) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    tails = np.array(places, np.int64)[:, None] + np.arange(_TAIL)
    stored = np.frombuffer(content, np.uint8)[tails].view("<u4")[:, 0] if records else np.zeros(0, np.uint32)
    compiled = native.library()
    if compiled is None:
        computed = _checksums(records)
    else:
        stops = np.array(places, np.int64)
        computed = native_encoding.checksums(compiled, content, stops - lengths, stops)
    wrong = np.flatnonzero(stored != computed)
    if len(wrong):
        first = int(wrong[0])
        raise _damaged("the checksum of a record is wrong", where, begin + places[first] - len(records[first]) - _HEAD)
    array = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(records), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(records))]
    )
    return array, at, missing


def _damaged(what: str, where: str, offset: int) -> DataError:
    return DataError(
        what,
        where=f"{where}, byte {offset}",
        expected="a TFRecord file",
        fix="The file is damaged, compressed, or of another format",
    )


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Translates errors of the operating system while a file is read."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError("the file does not exist", where=where) from error
    except (PermissionError, IsADirectoryError) as error:
        raise DataError("the file cannot be read", where=where, received=str(error)) from error
    except OSError as error:
        raise PlatformError("the file cannot be read", where=where, received=str(error)) from error
