"""Source files: opens local, remote and compressed files, and distinguishes damaged files from missing ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath

import pyarrow as pa

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UnreadableFile

MAXIMUM_BLANK = 16 << 20
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


def check_blank(path: str, count: int) -> int:
    """Bounds the blanks before the first row, of which a small compressed file may hold any number; returns `count`.

    Args:
        path: of the file, for messages.
        count: of the blanks, in bytes.

    Raises:
        UnreadableFile: there are too many.
    """
    if count > MAXIMUM_BLANK:
        raise UnreadableFile(
            "the file begins with blank lines only",
            where=path,
            expected=f"a row within the first {MAXIMUM_BLANK >> 20} MiB, or an empty file",
            received=f"{count >> 20} MiB of blanks",
            fix="Restore the file",
        )
    return count


def damaged(path: str, form: str, error: Exception) -> UnreadableFile:
    """The error for a file that is not a `form`."""
    lines = str(error).splitlines() or [type(error).__name__]
    return UnreadableFile(f"the file is not {form}, or is damaged", where=path, received=lines[0][:300].rstrip("."))
