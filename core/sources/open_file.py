"""Opens a source file, wherever it is and however it is compressed, and tells a damaged one from one not there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath

import pyarrow as pa

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UnreadableFile

COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def split_name(path: str) -> tuple[str, str | None]:
    """The ending that names a file's format, and its compression: ("rows.csv.gz") is (".csv", "gzip")."""
    name = PurePath(path)
    compression = COMPRESSIONS.get(name.suffix.lower())
    return (PurePath(name.stem).suffix if compression else name.suffix).lower(), compression


@contextmanager
def opened(path: str) -> Iterator[pa.NativeFile]:
    """The uncompressed bytes of a file, as Arrow reads them; one that is not compressed can be sought in."""
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
    """Turns what is said of a file that cannot be read as a `form`, such as Parquet, into one of our errors.

    Raises:
        DataError: there is no such file, or it may not be read.
        PlatformError: the disk or the service failed.
        UnreadableFile: the file is damaged, or not what its name says.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError("there is no such file", where=path) from error
    except (PermissionError, IsADirectoryError) as error:
        raise DataError("the file cannot be read", where=path, received=str(error)) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        # Arrow's own words about a damaged file are an OSError too, but one without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise PlatformError("the file cannot be read", where=path, received=str(error)) from error
        raise damaged(path, form, error) from error


def damaged(path: str, form: str, error: Exception) -> UnreadableFile:
    """The error for a file that is not a `form`."""
    lines = str(error).splitlines() or [type(error).__name__]
    return UnreadableFile(f"the file is not {form}, or is damaged", where=path, received=lines[0][:300].rstrip("."))
