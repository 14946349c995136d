"""Where rows come from: one interface over the formats, which yields record batches with their position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.components import storage
from headrace.components.errors import DataError
from headrace.components.preprocess.csv_source import CsvSource
from headrace.components.preprocess.parquet_source import ParquetSource
from headrace.components.tfrecord.quarantine import QuarantinedRow


@dataclass(frozen=True)
class Part:
    """A piece of the input that is read in one go: a whole file.

    Attributes:
        index: its place in the input, which decides the order of its rows among all.
        path: where it is.
    """

    index: int
    path: str

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        return PurePath(self.path).name


@dataclass(frozen=True)
class Rows:
    """Rows as they were read: what moves through the pipeline.

    Attributes:
        part: what they were read from.
        batch: the columns asked for: text (CSV), or as the file types them (Parquet).
        numbers: for each row of the batch, its place among the file's data rows, from 1.
        refused: rows between these that could not be read as rows at all.
    """

    part: Part
    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    refused: tuple[QuarantinedRow, ...] = ()

    @property
    def position(self) -> tuple[int, int]:
        """The place of its first row among all: index of the part, number of the row."""
        first = [int(number) for number in self.numbers[:1]] + [row.row for row in self.refused]
        return self.part.index, min(first)

    @property
    def count(self) -> int:
        """Rows read, refused ones too."""
        return len(self.numbers) + len(self.refused)


class Source(Protocol):
    """A format that rows are stored in. Every method raises DataError for a file that is not of the format."""

    def columns(self, path: str) -> list[tuple[str, pa.DataType]]:
        """The names of a file's columns, as they stand there, and the types that `read` gives them."""

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers, and the rows refused."""

    def expected_rows(self, path: str) -> int:
        """About how many rows the file has, from its first block or its footer."""


SOURCES: Mapping[str, Source] = {".csv": CsvSource(), ".parquet": ParquetSource()}


def list_parts(data: str) -> list[Part]:
    """The parts of a file, a folder or a glob, in the order of their paths.

    Raises:
        DataError: nothing is there, or nothing of a format that is read.
    """
    paths = storage.list_files(data, tuple(SOURCES))
    for path in paths:
        source_of(path)
    return [Part(index, path) for index, path in enumerate(paths)]


def source_of(path: str) -> Source:
    """The format of a file, by the end of its name.

    Raises:
        DataError: it is not one that is read.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in SOURCES:
        raise DataError(
            "the file is of a format that is not read",
            where=path,
            expected=f"a name ending in {' or '.join(SOURCES)}",
            received=suffix or "a name without an ending",
        )
    return SOURCES[suffix]


def read_part(part: Part, columns: Sequence[str], batch_rows: int) -> Iterator[Rows]:
    """The rows of a part, in order.

    Raises:
        DataError: the file is damaged, or lacks a column.
    """
    for batch, numbers, refused in source_of(part.path).read(part.path, columns, batch_rows):
        yield Rows(part, batch, numbers, refused)
