"""Source files: opens local, remote and compressed files, and distinguishes damaged files from missing ones."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UnreadableFile

# A compressed file of 1 MB may hold 1 GB of blanks: those in runs of 1 MiB or more are bounded, all of a file together.
MAXIMUM_BLANK = 16 << 20
_LONG_RUN = 1 << 20
CSV_FORMATS = (".csv", ".tsv")
_TEXT = (*CSV_FORMATS, ".jsonl", ".ndjson", ".json")
# The first bytes of formats that are no text, what they are, and what to do.
_OTHER_FORMATS: Mapping[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("compressed with gzip", "Add .gz to its name"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "Add .zst to its name"),
    b"PK\x03\x04": ("a ZIP archive, such as an Excel workbook", "Save the table as CSV, or unpack the archive"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "Save the table as CSV"),
    b"PAR1\x15": ("Parquet", "Rename it to end in .parquet"),
    b"Obj\x01": ("Avro", "Rename it to end in .avro"),
    b"ARROW1\0": ("an Arrow or Feather file", "Save the table as Parquet"),
}
_HEAD = max(map(len, _OTHER_FORMATS))
COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def split_name(path: str) -> tuple[str, str | None]:
    """The suffix of a file's format, and its compression: ("rows.csv.gz") is (".csv", "gzip")."""
    name = PurePath(path)
    compression = COMPRESSIONS.get(name.suffix.lower())
    return (PurePath(name.stem).suffix if compression else name.suffix).lower(), compression


def _check_text(path: str, file: pa.NativeFile) -> None:
    head = file.read(_HEAD)
    file.seek(0)
    for magic, (kind, fix) in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnreadableFile(f"the file is {kind}, and not what its name states", where=path, fix=fix)


@contextmanager
def opened(path: str) -> Iterator[pa.NativeFile]:
    """The uncompressed bytes of a file as an Arrow file; it is seekable if the file is not compressed.

    Raises:
        UnreadableFile: a local file that is called text is of another format.
    """
    remote = storage.is_remote(path)
    with pa.PythonFile(storage.open_input(path), "r") if remote else pa.OSFile(str(storage.local_path(path))) as file:
        form, compression = split_name(path)
        if compression is None:
            if form in _TEXT and not remote:
                _check_text(path, file)
            yield file
        else:
            with pa.CompressedInputStream(file, compression) as plain:
                yield plain


@contextmanager
def opened_text(path: str, encoding: str = "utf-8") -> Iterator[TextBytes]:
    """The uncompressed bytes of a file of rows as text, with a bound of the blanks in it.

    Raises:
        UnreadableFile: a local file that is called text is of another format.
    """
    with opened(path) as file:
        yield TextBytes(file, path, encoding)


class TextBytes(io.RawIOBase):
    """The bytes of a text, in which blanks are read ahead: too many are refused before anybody parses them.

    Args:
        file: the file, uncompressed.
        path: its name, for errors.
        encoding: of the text; a blank is a byte of its spaces, tabs and line ends.
    """

    def __init__(self, file: Any, path: str, encoding: str) -> None:
        self._file = file
        self._path = path
        self._blanks = bytes(set(" \t\r\n".encode(encoding)))
        # Blanks at the end of what was read, those of earlier long runs, and the bytes read in all.
        self._run = self._long = self._count = 0
        self._ahead = b""

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer than `size` only at the end; all that remain if it is negative.

        Raises:
            UnreadableFile: the blanks in runs of 1 MiB or more exceed `MAXIMUM_BLANK`.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_LONG_RUN), b""))
        if len(self._ahead) < size:
            self._ahead += self._next(size - len(self._ahead))
        content, self._ahead = self._ahead[:size], self._ahead[size:]
        return content

    def readinto(self, buffer: Any, /) -> int:
        """Fills `buffer`; see `read`."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _next(self, size: int) -> bytes:
        """At least `size` bytes, up to a block that is not all blank, or to the end."""
        parts: list[bytes] = []
        text = b""
        while not text or len(parts) * _LONG_RUN < size:
            # A long run does not fit into such a block, and so touches an end of one.
            content = self._file.read(_LONG_RUN)
            if not content:
                break
            parts.append(content)
            self._count += len(content)
            text = content.lstrip(self._blanks)
            self._run += len(content) - len(text)
            long = self._run if self._run >= _LONG_RUN else 0
            if self._long + long > MAXIMUM_BLANK:
                raise UnreadableFile(
                    "the file has too many blanks",
                    where=self._path,
                    expected=f"at most {MAXIMUM_BLANK >> 20} MiB of them in runs of 1 MiB or more",
                    received=f"more within the first {self._count:,} bytes of its text",
                    fix="Restore the file, or remove its blank lines",
                )
            if text:
                self._long += long
                self._run = len(text) - len(text.rstrip(self._blanks))
        return b"".join(parts)


@contextmanager
def reading(path: str, form: str) -> Iterator[None]:
    """Translates errors of reading a file of the format `form`, such as Parquet.

    Raises:
        DataError: the file does not exist, or access is denied.
        PlatformError: the disk or the service failed.
        UnreadableFile: the file is damaged, or has another format.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError("the file does not exist", where=path) from error
    except (PermissionError, IsADirectoryError) as error:
        raise DataError("the file cannot be read", where=path, received=str(error)) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        # Arrow also raises OSError for a damaged file, but without an error number.
        if isinstance(error, OSError) and error.errno is not None:
            raise PlatformError("the file cannot be read", where=path, received=str(error)) from error
        raise damaged(path, form, error) from error


def damaged(path: str, form: str, error: Exception) -> UnreadableFile:
    """The error for a file that is not a `form`."""
    lines = str(error).splitlines() or [type(error).__name__]
    return UnreadableFile(f"the file is not {form}, or is damaged", where=path, received=lines[0][:300].rstrip("."))
