"""Source of rows: the interface of every format, and the record batches that it yields with their position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect

# What the addresses of tables and queries begin with.
BIGQUERY = "bigquery://"

# What of a file a part is, in the words of its format; None for the whole.
Piece = Any


def file_name(path: str) -> str:
    """A file's name without folders, but those that are partitions, as in "year=2019/rows.parquet"."""
    parts = PurePath(path).parts
    first = len(parts) - 1
    while first > 0 and "=" in parts[first - 1]:
        first -= 1
    return "/".join(parts[first:])


class Preparation(Protocol):
    """A function that makes further columns of rows; see `rows.prepare`."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it is given."""

    def __call__(self, rows: Rows) -> Rows:
        """The rows with the columns that it makes."""


@dataclass(frozen=True)
class Part:
    """A piece of the input that is read in one go: a whole file, row groups of one, or a stream of a table.

    Attributes:
        index: its place in the input, which decides the order of its rows among all.
        path: where it is.
        piece: what of that it is; None for all.
        csv: how it is written, if it is CSV.
        stream: which of several streams of a table it is, from 1; 0 where rows are numbered through the file.
        prepare: what its rows go through after they are read; None for rows that are used as they are.
    """

    index: int
    path: str
    piece: Piece = None
    csv: CsvDialect = RFC_4180
    stream: int = 0
    prepare: Preparation | None = None

    @property
    def file(self) -> str:
        """The file's name, as `file_name` gives it."""
        if self.path.startswith(BIGQUERY):
            return self.path.removeprefix(BIGQUERY).partition("?")[0]
        return file_name(self.path)

    @property
    def name(self) -> str:
        """What its rows are numbered in: the file, or a stream of a table."""
        return f"{self.file}, stream {self.stream}" if self.stream else self.file


@dataclass(frozen=True)
class Rows:
    """Rows as they were read: what moves through the pipeline.

    Attributes:
        part: what they were read from.
        batch: the columns asked for: text (CSV), or as the file types them (Parquet).
        numbers: for each row of the batch, its place among the file's data rows, from 1.
        refused: rows between these that could not be read as rows at all.
        unprepared: of rows that were prepared, the batch as it was read, which quarantine keeps.
    """

    part: Part
    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    refused: tuple[QuarantinedRow, ...] = ()
    unprepared: pa.RecordBatch | None = None

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

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The names of a file's columns, as they stand there, and the types that `read` gives them.

        A format without a schema is read further for those of `wanted` that its first rows do not have.
        """

    def pieces(self, path: str, columns: Sequence[str] | None) -> Sequence[Piece]:
        """What a file can be read in, one or more; of `columns`, or all. A file that is damaged is one piece."""

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: Piece = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers in the file, and the rows refused."""

    def expected_rows(self, path: str) -> int:
        """About how many rows the file has, from its first block or its footer."""
