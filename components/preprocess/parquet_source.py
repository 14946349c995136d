"""Reads Parquet: the columns asked for, as the file types them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.components import storage
from headrace.components.errors import DataError
from headrace.components.tfrecord.quarantine import QuarantinedRow


class ParquetSource:
    """Parquet files. Every row is a row here, so none is refused."""

    def columns(self, path: str) -> list[tuple[str, pa.DataType]]:
        """Names and types of the top-level columns."""
        with _reading(path), pq.ParquetFile(storage.local_path(path)) as file:
            return [(field.name, field.type) for field in file.schema_arrow]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, with their numbers."""
        first = 1
        with _reading(path), pq.ParquetFile(storage.local_path(path)) as file:
            # Without threads memory stays at one row group, and the order is the file's; workers are Beam's to add.
            for batch in file.iter_batches(batch_rows, columns=list(columns), use_threads=False):
                yield batch.select(list(columns)), np.arange(first, first + batch.num_rows), ()
                first += batch.num_rows

    def expected_rows(self, path: str) -> int:
        """How many rows the footer says there are."""
        with _reading(path), pq.ParquetFile(storage.local_path(path)) as file:
            rows: int = file.metadata.num_rows
            return rows


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turns what Arrow says of a damaged file into a DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=path) from error
    except PermissionError as error:
        raise DataError("the file cannot be read", where=path, received=str(error)) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "the file is not Parquet, or is damaged", where=path, received=str(error).splitlines()[0][:300].rstrip(".")
        ) from error
