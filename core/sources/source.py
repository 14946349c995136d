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

# Prefix of the URIs of tables and queries.
BIGQUERY = "bigquery://"

# Maximum number of columns of a file whose rows name their members: a small one may name any number.
MAXIMUM_MEMBERS = 10_000

# The piece of a file, in a form of its format; None for the whole file.
Piece = Any


def file_name(path: str) -> str:
    """A file's name without folders except partitions, as in "year=2019/rows.parquet"."""
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
    """A unit of the input: a whole file, row groups of a file, or a stream of a table.

    Attributes:
        index: its position in the input, which determines the order of rows.
        path: the file or the table.
        piece: the piece of it; None for all.
        csv: the dialect, if it is CSV.
        stream: the number of a table's stream, from 1; 0 if rows are numbered through the file.
        prepare: the Problem's `prepare`, which its rows pass through; None for rows that are used as they are.
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
        """The unit in which its rows are numbered: the file, or a stream of a table."""
        return f"{self.file}, stream {self.stream}" if self.stream else self.file


@dataclass(frozen=True)
class Rows:
    """Rows as read from a source; the elements of the pipeline.

    Attributes:
        part: their part of the input.
        batch: the requested columns: text (CSV), or the file's types (Parquet).
        numbers: the number of each row among the file's data rows, from 1.
        refused: rows between these that could not be parsed.
        unprepared: of prepared rows, the batch as it was read, for quarantine.
    """

    part: Part
    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    refused: tuple[QuarantinedRow, ...] = ()
    unprepared: pa.RecordBatch | None = None

    @property
    def position(self) -> tuple[int, int]:
        """The position of its first row: index of the part, number of the row."""
        first = [int(number) for number in self.numbers[:1]] + [row.row for row in self.refused]
        return self.part.index, min(first)

    @property
    def count(self) -> int:
        """Number of rows, including refused ones."""
        return len(self.numbers) + len(self.refused)


class Source(Protocol):
    """A storage format of rows. All methods raise DataError for a file of another format."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The names of a file's columns, and the types that `read` returns.

        In a format without a schema, later rows are searched for those of `wanted` that the first rows lack.
        """

    def pieces(self, path: str, columns: Sequence[str] | None) -> Sequence[Piece]:
        """The pieces of a file, one or more, for `columns` or all. A damaged file is one piece."""

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: Piece = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers in the file, and the rows refused."""

    def expected_rows(self, path: str) -> int:
        """The estimated number of rows, from the file's first block or its footer."""
