"""Source factory: the parts of a file, folder, glob, table or query, and the source of each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath

from headrace.core import storage
from headrace.core.artifacts import examples
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open_file import COMPRESSIONS, CSV_FORMATS, split_name
from headrace.core.sources.partitions import PartitionedSource, partition_values
from headrace.core.sources.source import BIGQUERY, Part, Rows, Source

_FORMATS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json", ".avro", ".tfrecord", ".tfrecords")
# These formats compress blocks and need seeking, for which a compressed file would be unpacked completely.
_NEVER_COMPRESSED = (".parquet", ".avro")
_ONLY_GZIP = (".tfrecord", ".tfrecords")
_WITHOUT_SCHEMA = (".jsonl", ".ndjson", ".json", ".tfrecord", ".tfrecords")


def list_parts(data: str, *, csv: CsvDialect = RFC_4180, columns: Sequence[str] | None = None) -> list[Part]:
    """The parts of a file, a folder, a glob, a table or a query, in the order of their paths.

    Args:
        data: the input; a query is run.
        csv: the dialect of CSV files.
        columns: the columns to read, which sessions of tables require; all by default.

    Raises:
        DataError: there are no files, or none of a supported format.
        UsageError: a name or the query is wrong, or access is denied.
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
    """The files, or the table, of `data`, in order. Raises the errors of `list_parts`."""
    if data.startswith(BIGQUERY):
        from headrace.core.sources import bigquery

        return [bigquery.resolve(data)]
    paths = storage.list_files(data, tuple(_endings()))
    for path in paths:
        source_of(path)
    return paths


def source_of(path: str, csv: CsvDialect = RFC_4180, coded: Collection[str] = ()) -> Source:
    """The source of a file's format, by the suffix of its name, with the columns of folders COLUMN=VALUE.

    Args:
        path: the file.
        csv: the dialect of CSV files.
        coded: columns that may be returned as dictionaries if the file stores them this way.

    Raises:
        DataError: the format is not supported.
    """
    source = _format_of(path, csv, coded)
    values = {} if path.startswith(BIGQUERY) else partition_values(path)
    return PartitionedSource(source, values) if values else source


def _format_of(path: str, csv: CsvDialect, coded: Collection[str]) -> Source:
    """Imports a format's source only if a file of that format is read."""
    if path.startswith(BIGQUERY):
        from headrace.core.sources.bigquery import BigQuerySource

        return BigQuerySource()
    form, compression = split_name(path)
    if form not in _FORMATS or (compression and PurePath(path).suffix.lower() not in _compressions(form)):
        raise DataError(
            "the file's format is not supported",
            where=path,
            expected=f"a name ending in {', '.join(_FORMATS)}, text also in {', '.join(COMPRESSIONS)}",
            received="".join(PurePath(path).suffixes[-2:] if compression else [form]) or "a name without a suffix",
        )
    if form == ".parquet":
        from headrace.core.sources.parquet.reader import ParquetSource

        return ParquetSource(coded)
    if form in CSV_FORMATS:
        from headrace.core.sources.csv.reader import CsvSource

        return CsvSource(csv)
    if form == ".avro":
        from headrace.core.sources.avro.reader import AvroSource

        return AvroSource()
    if form in _ONLY_GZIP:
        from headrace.core.sources.tfrecord import TFRecordSource

        return TFRecordSource()
    from headrace.core.sources.jsonl import JsonLinesSource

    return JsonLinesSource()


def states_columns(path: str) -> bool:
    """Whether files of this format declare their columns; in other formats each row may have different ones."""
    return path.startswith(BIGQUERY) or split_name(path)[0] not in _WITHOUT_SCHEMA


def _compressions(form: str) -> Sequence[str]:
    if form in _NEVER_COMPRESSED:
        return ()
    return (".gz",) if form in _ONLY_GZIP else tuple(COMPRESSIONS)


def _endings() -> Iterator[str]:
    for form in _FORMATS:
        yield form
        yield from (form + compression for compression in _compressions(form))


def read_part(part: Part, columns: Sequence[str], batch_rows: int, coded: Collection[str] = ()) -> Iterator[Rows]:
    """The rows of a part, in order; the columns `coded` may be dictionaries.

    Raises:
        UnreadableFile: the file is damaged.
        DataError: its format differs from its name, or it lacks a column.
    """
    source = source_of(part.path, part.csv, coded)
    for batch, numbers, refused in source.read(part.path, columns, batch_rows, part.piece):
        yield Rows(part, batch, numbers, refused)


def expected_rows(parts: Sequence[Part]) -> int:
    """The estimated total number of rows; a damaged file counts as empty."""
    total = 0
    for path, part in {part.path: part for part in parts}.items():
        try:
            total += source_of(path, part.csv).expected_rows(path)
        except UnreadableFile:
            continue
    return max(total, 1)


def size_of(path: str) -> int:
    """The size in bytes of a file, or of a table by its metadata."""
    if path.startswith(BIGQUERY):
        from headrace.core.sources import bigquery

        return bigquery.size(path)
    return storage.size(path)


def data_version(paths: Sequence[str], csv: CsvDialect = RFC_4180) -> str:
    """SHA-256 of the files' contents or the table's last change, and of the CSV dialect."""
    tables = [path for path in paths if path.startswith(BIGQUERY)]
    if tables:
        from headrace.core.sources import bigquery

        return hashlib.sha256("\n".join(map(bigquery.version, tables)).encode()).hexdigest()
    content = storage.fingerprint(list(paths))
    partitions = [partition_values(path) for path in paths]
    if any(partitions):
        content = hashlib.sha256(f"{content}\0{json.dumps(partitions)}".encode()).hexdigest()
    if csv == RFC_4180:
        return content
    dialect = json.dumps(dataclasses.asdict(csv), sort_keys=True)
    return hashlib.sha256(f"{content}\0{dialect}".encode()).hexdigest()


def sources_of(parts: Sequence[Part], rows_of_parts: Mapping[int, int]) -> tuple[examples.SourceFile, ...]:
    """The files, each once, with the sum of the rows of its parts, which are passed by index."""
    rows: Counter[str] = Counter()
    names = {}
    for part in parts:
        rows[part.path] += rows_of_parts.get(part.index, 0)
        names[part.path] = part.file
    return tuple(examples.SourceFile(name, size_of(path), rows[path]) for path, name in names.items())
