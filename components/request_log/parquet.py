"""Request log conversion: complete spooled files to Parquet, in a process that has pyarrow, which the server lacks.

Columns of a file: `time` (timestamp, UTC), `version`, and the structs `columns` and `predictions`, whose fields are the
model's inputs and outputs. Missing numbers are null.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.spool import (
    CONVERTED,
    SPOOLED,
    complete_files,
    converted_name,
    prune,
    read_spooled,
    recover,
)
from headrace.core import storage
from headrace.core.errors import UnreadableFile, UsageError
from headrace.core.storage.lock import locked

if TYPE_CHECKING:
    import pyarrow as pa

_PARTS = ("columns", "predictions")


def convert(config: RequestLogConfig, clock: Callable[[], float] = time.time) -> list[Path]:
    """Converts all complete spooled files, each to one Parquet file per version and schema; keeps the bounds.

    A file is converted as a whole: killed anywhere and run again, each row is there once.

    Args:
        config: of the request log.
        clock: returns the time in seconds since the epoch.

    Returns:
        The new Parquet files.

    Raises:
        DataError: a spooled file is damaged.
        UsageError: the folder does not exist, or cannot be written.
        PlatformError: the disk is full, or another process converted for longer than a minute.
    """
    folder = storage.local_path(config.folder)
    if not folder.is_dir():
        raise UsageError("the request log does not exist", where=config.folder, expected="a folder of a request log")
    written = []
    with locked(config.folder, name=".convert.lock"), storage.writing(config.folder):
        recover(folder)
        for left in folder.glob(f".requests-*{CONVERTED}.*"):
            left.unlink(missing_ok=True)
        for path in complete_files(folder):
            if path.suffix == SPOOLED:
                written += _convert(path)
        prune(config, clock())
    return written


def _convert(path: Path) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: dict[tuple[str, Any], list[pa.Table]] = {}
    for batch in read_spooled(path):
        table = _table(batch)
        tables.setdefault((batch.version, str(table.schema)), []).append(table)
    written = []
    for number, parts in enumerate(tables.values()):
        target = converted_name(path, number)
        temporary = storage.temporary_name(target)
        pq.write_table(pa.concat_tables(parts), temporary, compression="zstd")
        storage.publish(temporary, target)
        written.append(target)
    # Readers ignore the Parquet files of a spooled file as long as it exists.
    path.unlink(missing_ok=True)
    return written


def read_parquet(path: Path) -> Iterator[LoggedBatch]:
    """The batches of a converted file: consecutive rows of one time.

    Raises:
        UnreadableFile: the file is damaged.
        FileNotFoundError: it was removed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        parts = {p: _arrays(table.column(p).combine_chunks()) if p in table.column_names else {} for p in _PARTS}
        times = table.column("time").cast(pa.int64()).to_numpy()
        version = table.column("version")[0].as_py() if len(table) else ""
    except FileNotFoundError:
        raise
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UnreadableFile(
            "a file of the request log is damaged", where=str(path), received=str(error), fix="Remove the file"
        ) from error
    for begin, end in pairwise([*np.flatnonzero(np.diff(times, prepend=-1)).tolist(), len(times)]):
        columns, predictions = ({n: v[begin:end] for n, v in parts[part].items()} for part in _PARTS)
        yield LoggedBatch(columns, predictions, version, int(times[begin]) / 1e6)


def _table(batch: LoggedBatch) -> pa.Table:
    import pyarrow as pa

    rows = batch.rows
    at = pa.array(np.full(rows, round(batch.time * 1e6), np.int64)).cast(pa.timestamp("us", tz="UTC"))
    table = {"time": at, "version": pa.array([batch.version] * rows)}
    for part, arrays in zip(_PARTS, (batch.columns, batch.predictions), strict=True):
        # Parquet has no struct without fields.
        if arrays:
            table[part] = pa.StructArray.from_arrays([_array(each) for each in arrays.values()], list(arrays))
    return pa.table(table)


def _array(values: npt.NDArray[Any]) -> pa.Array:
    import pyarrow as pa

    if values.ndim > 1 and values.shape[1]:
        inner = _array(values.reshape(-1, *values.shape[2:]))
        return pa.FixedSizeListArray.from_arrays(inner, values.shape[1])
    if values.ndim > 1 or (values.dtype == object and isinstance(values[0], np.ndarray)):
        lengths = [len(row) for row in values]
        return pa.ListArray.from_arrays(np.cumsum([0, *lengths], dtype=np.int32), _array(np.concatenate(values)))
    return pa.array(values, from_pandas=values.dtype.kind == "f")


def _arrays(struct: pa.StructArray) -> dict[str, npt.NDArray[Any]]:
    return {field.name: _values(struct.field(at)) for at, field in enumerate(struct.type)}


def _values(array: pa.Array) -> npt.NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(array.type):
        inner = _values(array.flatten())
        return inner.reshape(len(array), array.type.list_size, *inner.shape[1:])
    if pa.types.is_list(array.type):
        rows = np.empty(len(array), object)
        rows[:] = np.split(_values(array.flatten()), array.offsets.to_numpy()[1:-1])
        return rows
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
