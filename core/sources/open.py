"""Where rows come from: one interface over the formats, which yields record batches with their position."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open_file import COMPRESSIONS, split_name

# What the addresses of tables and queries begin with.
BIGQUERY = "bigquery://"
_FORMATS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json", ".avro", ".tfrecord", ".tfrecords")
# These hold compressed blocks, and would have to be unpacked whole to be sought in; TFRecords come as gzip alone.
_NEVER_COMPRESSED = (".parquet", ".avro")
_ONLY_GZIP = (".tfrecord", ".tfrecords")

# What of a file a part is, in the words of its format; None for the whole.
Piece = Any


@dataclass(frozen=True)
class Part:
    """A piece of the input that is read in one go: a whole file, row groups of one, or a stream of a table.

    Attributes:
        index: its place in the input, which decides the order of its rows among all.
        path: where it is.
        piece: what of that it is; None for all.
        csv: how it is written, if it is CSV.
        stream: which of several streams of a table it is, from 1; 0 where rows are numbered through the file.
    """

    index: int
    path: str
    piece: Piece = None
    csv: CsvDialect = RFC_4180
    stream: int = 0

    @property
    def file(self) -> str:
        """The file's name, without folders."""
        if self.path.startswith(BIGQUERY):
            return self.path.removeprefix(BIGQUERY).partition("?")[0]
        return PurePath(self.path).name

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

    def pieces(self, path: str, columns: Sequence[str] | None) -> Sequence[Piece]:
        """What a file can be read in, one or more; of `columns`, or all. A file that is damaged is one piece."""

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: Piece = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers in the file, and the rows refused."""

    def expected_rows(self, path: str) -> int:
        """About how many rows the file has, from its first block or its footer."""


def list_parts(data: str, *, csv: CsvDialect = RFC_4180, columns: Sequence[str] | None = None) -> list[Part]:
    """The parts of a file, a folder, a glob, a table or a query, in the order of their paths.

    Args:
        data: what is read; a query is run.
        csv: how CSV files are written.
        columns: those that will be read, which tables need to know; all by default.

    Raises:
        DataError: nothing is there, or nothing of a format that is read.
        UsageError: a name or the query is wrong, or access is not allowed.
        PlatformError: the service failed.
    """
    parts: list[Part] = []
    for path in list_paths(data):
        pieces = source_of(path, csv).pieces(path, columns)
        table = path.startswith(BIGQUERY) and len(pieces) > 1
        for number, piece in enumerate(pieces, 1):
            parts.append(Part(len(parts), path, piece, csv, number if table else 0))
    return parts


def list_paths(data: str) -> list[str]:
    """The files, or the table, that `data` names, in order. Raises as `list_parts` does."""
    if data.startswith(BIGQUERY):
        from headrace.core.sources import bigquery

        return [bigquery.resolve(data)]
    paths = storage.list_files(data, tuple(_endings()))
    for path in paths:
        source_of(path)
    return paths


def source_of(path: str, csv: CsvDialect = RFC_4180, coded: Collection[str] = ()) -> Source:
    """The format of a file, by the end of its name. What reads a format is imported only where one is met.

    Args:
        path: the file.
        csv: how CSV files are written.
        coded: columns that may come as dictionaries, where that is how the file has them.

    Raises:
        DataError: it is not one that is read.
    """
    if path.startswith(BIGQUERY):
        from headrace.core.sources.bigquery import BigQuerySource

        return BigQuerySource()
    form, compression = split_name(path)
    if form not in _FORMATS or (compression and PurePath(path).suffix.lower() not in _compressions(form)):
        raise DataError(
            "the file is of a format that is not read",
            where=path,
            expected=f"a name ending in {', '.join(_FORMATS)}, text also in {', '.join(COMPRESSIONS)}",
            received="".join(PurePath(path).suffixes[-2:] if compression else [form]) or "a name without an ending",
        )
    if form == ".parquet":
        from headrace.core.sources.parquet import ParquetSource

        return ParquetSource(coded)
    if form in (".csv", ".tsv"):
        from headrace.core.sources.csv_reader import CsvSource

        return CsvSource(csv)
    if form == ".avro":
        from headrace.core.sources.avro import AvroSource

        return AvroSource()
    if form in _ONLY_GZIP:
        from headrace.core.sources.tfrecord import TFRecordSource

        return TFRecordSource()
    from headrace.core.sources.jsonl import JsonLinesSource

    return JsonLinesSource()


def _compressions(form: str) -> Sequence[str]:
    if form in _NEVER_COMPRESSED:
        return ()
    return (".gz",) if form in _ONLY_GZIP else tuple(COMPRESSIONS)


def _endings() -> Iterator[str]:
    for form in _FORMATS:
        yield form
        yield from (form + compression for compression in _compressions(form))


def read_part(part: Part, columns: Sequence[str], batch_rows: int, coded: Collection[str] = ()) -> Iterator[Rows]:
    """The rows of a part, in order; of its columns, `coded` may come as dictionaries.

    Raises:
        UnreadableFile: the file is damaged.
        DataError: it is not what its name says, or lacks a column.
    """
    source = source_of(part.path, part.csv, coded)
    for batch, numbers, refused in source.read(part.path, columns, batch_rows, part.piece):
        yield Rows(part, batch, numbers, refused)


def expected_rows(parts: Sequence[Part]) -> int:
    """About how many rows there are in all; a damaged file counts as none."""
    total = 0
    for path, part in {part.path: part for part in parts}.items():
        try:
            total += source_of(path, part.csv).expected_rows(path)
        except UnreadableFile:
            continue
    return max(total, 1)


def size_of(path: str) -> int:
    """Bytes of a file, or of a table as its service counts them."""
    if path.startswith(BIGQUERY):
        from headrace.core.sources import bigquery

        return bigquery.size(path)
    return storage.size(path)


def data_version(paths: Sequence[str], csv: CsvDialect = RFC_4180) -> str:
    """SHA-256 of what the rows depend on: the files' contents, or the table's last change, and how CSV is read."""
    tables = [path for path in paths if path.startswith(BIGQUERY)]
    if tables:
        from headrace.core.sources import bigquery

        return hashlib.sha256("\n".join(map(bigquery.version, tables)).encode()).hexdigest()
    content = storage.fingerprint(list(paths))
    if csv == RFC_4180:
        return content
    dialect = json.dumps(dataclasses.asdict(csv), sort_keys=True)
    return hashlib.sha256(f"{content}\0{dialect}".encode()).hexdigest()
