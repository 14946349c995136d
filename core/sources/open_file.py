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
COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def split_name(path: str) -> tuple[str, str | None]:
    """The suffix of a file's format, and its compression: ("rows.csv.gz") is (".csv", "gzip")."""
    name = PurePath(path)
    compression = COMPRESSIONS.get(name.suffix.lower())
    return (PurePath(name.stem).suffix if compression else name.suffix).lower(), compression


@contextmanager
def opened(path: str) -> Iterator[pa.NativeFile]:
    """The uncompressed bytes of a file as an Arrow file; it is seekable if the file is not compressed."""
    remote = storage.is_remote(path)
    with pa.PythonFile(storage.open_input(path), "r") if remote else pa.OSFile(str(storage.local_path(path))) as file:
        compression = split_name(path)[1]
        if compression is None:
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
