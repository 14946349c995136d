"""BigQuery sink: writes predictions to a table with load jobs, which are free of charge.

Predictions are first loaded into a temporary table, and then copied over the target in one step. Readers see either the
earlier table or the new one, and a killed run leaves at most a temporary table that expires.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core import exceptions as api

from headrace.components.score.sinks.parquet_sink import ParquetSink
from headrace.components.score.sinks.sink import BlockWriter, PendingFile, PublishedFiles, Sink
from headrace.core import storage
from headrace.core.cloud import bigquery
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.sources.bigquery import Query, Table, parse
from headrace.core.tfrecord.conversion import is_list

_LOADS_AT_ONCE = 4
# Maximum number of files per load job.
_FILES_OF_A_JOB = 10_000
_ROLES = ("roles/bigquery.dataEditor", "roles/bigquery.jobUser")
_NO_DATASET = "the dataset does not exist, or a file to load is missing"
_TYPES = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_large_string, "STRING"),
    (pa.types.is_binary, "BYTES"),
    (pa.types.is_large_binary, "BYTES"),
    (pa.types.is_decimal, "NUMERIC"),
)


@dataclass(frozen=True)
class BigQuerySink(Sink):
    """A BigQuery table; predictions are staged in Parquet files.

    Attributes:
        key: the column that identifies a row.
        table: bigquery://PROJECT.DATASET.TABLE.

    Raises:
        UsageError: `table` is not the name of a table.
    """

    key: str | None
    table: str
    ending: ClassVar[str] = "parquet"

    def __post_init__(self) -> None:
        self._target()

    def _target(self) -> Table:
        named = parse(self.table)
        if isinstance(named, Query):
            raise UsageError("the output table is wrong", where="--table", expected="PROJECT.DATASET.TABLE")
        return named

    def check(self) -> None:
        """Checks that the dataset exists.

        Raises:
            DataError: the dataset does not exist.
            UsageError: credentials or permissions are missing.
            PlatformError: the service failed.
        """
        target = self._target()
        with (
            bigquery.translate_errors(self.table, _ROLES, _NO_DATASET),
            closing(bigquery.client(target.payer)) as client,
        ):
            client.get_dataset(f"{target.project}.{target.dataset}", retry=bigquery.retry())

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Begins a file."""
        return ParquetSink(self.key).writer(file, schema)

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> PublishedFiles:
        """Replaces the table with the predictions.

        Raises:
            DataError: the dataset does not exist.
            UsageError: credentials or permissions are missing.
            PlatformError: the service failed, or lacks rows.
        """
        target = self._target()
        rows = sum(file.rows for file in waiting)
        uris = [storage.join(folder, file.file) for file in waiting]
        # A job name can be used once only: a request that the client repeats after a lost response runs once.
        run = secrets.token_hex(8)
        with (
            bigquery.translate_errors(self.table, _ROLES, _NO_DATASET),
            closing(bigquery.client(target.payer)) as client,
        ):
            beside = _make_table_beside(client, target, run, _columns(uris) if uris else [])
            # Without it, jobs of a region are not found.
            location = client.get_dataset(f"{target.project}.{target.dataset}", retry=bigquery.retry()).location
            try:
                if uris and folder.startswith("gs://"):
                    batches = [uris[i : i + _FILES_OF_A_JOB] for i in range(0, len(uris), _FILES_OF_A_JOB)]
                    for number, batch in enumerate(batches):
                        _load(client, beside, f"headrace-{run}-{number}", location, batch)
                else:
                    with ThreadPoolExecutor(_LOADS_AT_ONCE) as pool:
                        names = [f"headrace-{run}-{number}" for number in range(len(uris))]
                        list(pool.map(lambda name, uri: _load(client, beside, name, location, uri), names, uris))
                loaded = int(client.get_table(beside, retry=bigquery.retry()).num_rows or 0)
                if loaded != rows:
                    raise PlatformError(
                        "rows are missing in BigQuery", where=beside, expected=f"{rows:,} rows", received=f"{loaded:,}"
                    )
                _replace(client, beside, target.name, f"headrace-{run}-copy", location)
            finally:
                client.delete_table(beside, not_found_ok=True, retry=bigquery.retry())
        return PublishedFiles((), rows, destination=target.uri)


def _make_table_beside(client: Any, target: Table, run: str, columns: list[Any]) -> str:
    from google.cloud.bigquery import Table as NewTable

    name = f"{target.project}.{target.dataset}.{target.table}_headrace_{run}"
    table = client.create_table(NewTable(name, schema=columns), retry=bigquery.retry())
    table.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    client.update_table(table, ["expires"], retry=bigquery.retry())
    return name


def _load(client: Any, table: str, job: str, location: str, what: str | list[str]) -> None:
    """Adds a local file, or files of a bucket, to a table."""
    from google.cloud.bigquery import LoadJobConfig
    from google.cloud.bigquery.format_options import ParquetOptions

    options = ParquetOptions()  # type: ignore[no-untyped-call]
    options.enable_list_inference = True
    config = LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    config.parquet_options = options
    named = {"job_id": job, "location": location, "job_config": config}
    try:
        if isinstance(what, list):
            begun = client.load_table_from_uri(what, table, retry=bigquery.retry(), **named)
        else:
            with storage.open_input(what) as file:
                begun = client.load_table_from_file(file, table, **named)
    except api.Conflict:
        begun = client.get_job(job, location=location, retry=bigquery.retry())
    begun.result(retry=bigquery.retry())


def _replace(client: Any, source: str, target: str, job: str, location: str) -> None:
    from google.cloud.bigquery import CopyJobConfig

    config = CopyJobConfig(write_disposition="WRITE_TRUNCATE")
    try:
        named = {"job_id": job, "location": location, "job_config": config}
        begun = client.copy_table(source, target, retry=bigquery.retry(), **named)
    except api.Conflict:
        begun = client.get_job(job, location=location, retry=bigquery.retry())
    begun.result(retry=bigquery.retry())


def _columns(uris: Sequence[str]) -> list[Any]:
    with storage.open_input(uris[0]) as file, pq.ParquetFile(file) as first:
        return [_column(field.name, field.type) for field in first.schema_arrow]


def _column(name: str, kind: pa.DataType) -> Any:
    from google.cloud.bigquery import SchemaField

    if is_list(kind):
        return SchemaField(name, _type(name, kind.value_type), "REPEATED")
    return SchemaField(name, _type(name, kind.value_type if pa.types.is_dictionary(kind) else kind))


def _type(name: str, kind: pa.DataType) -> str:
    for is_kind, of_bigquery in _TYPES:
        if is_kind(kind):
            return of_bigquery
    raise DataError("a column has a type that BigQuery does not support", where=name, received=str(kind))
