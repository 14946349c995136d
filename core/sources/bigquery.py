"""BigQuery source: reads a table or the result of a query as streams of Arrow record batches (Storage Read API).

The URI is `bigquery://PROJECT.DATASET.TABLE`, with `?project=PROJECT` if another project than the table's pays, or
`bigquery://PROJECT[.DATASET]?query=SELECT ...`; the text after `query=` is GoogleSQL. A query's result is a table that
expires after a day: BigQuery's cached result, which an equal query reuses while its tables do not change, or, if a
DATASET is named, a new table in that dataset.

BIGQUERY_EMULATOR_HOST and BIGQUERY_STORAGE_GRPC, read at each call, set other servers, without credentials.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.api_core import exceptions as api

from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.cloud import bigquery
from headrace.core.errors import UsageError
from headrace.core.sources.source import BIGQUERY

# Maximum number of streams; BigQuery decides the number. Each stream is one piece.
_MAX_STREAMS = 100
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]")
_ROLES = ("roles/bigquery.dataViewer", "roles/bigquery.jobUser", "roles/bigquery.readSessionUser")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[\w -]{1,1024}")
_SELECT = re.compile(r"\(*\s*(SELECT|WITH|FROM)\b", re.IGNORECASE)

_TYPES: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "JSON": pa.string(),
    "GEOGRAPHY": pa.string(),
    "BYTES": pa.binary(),
    "INTEGER": pa.int64(),
    "INT64": pa.int64(),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True)
class Table:
    """A table by its checked names, and the project that pays for reading it."""

    project: str
    dataset: str
    table: str
    payer: str

    @property
    def name(self) -> str:
        """As project.dataset.table."""
        return f"{self.project}.{self.dataset}.{self.table}"

    @property
    def resource(self) -> str:
        """As the Storage Read API names it."""
        return f"projects/{self.project}/datasets/{self.dataset}/tables/{self.table}"

    @property
    def uri(self) -> str:
        """The URI that `parse` accepts."""
        return f"{BIGQUERY}{self.name}" + (f"?project={self.payer}" if self.payer != self.project else "")


@dataclass(frozen=True)
class Query:
    """A query, the project in which it runs and which pays, and the dataset of its result, or "" for none."""

    payer: str
    sql: str
    dataset: str = ""

    @property
    def result(self) -> Table:
        """The table of the result in the dataset."""
        digest = hashlib.sha256(self.sql.encode()).hexdigest()[:16]
        return Table(self.payer, self.dataset, f"headrace_{digest}", self.payer)


def parse(uri: str) -> Table | Query:
    """Parses a bigquery:// URI.

    Raises:
        UsageError: it has neither form, or a name in it is not valid in BigQuery.
    """
    what, _, option = uri.removeprefix(BIGQUERY).partition("?")
    if option.startswith("query="):
        sql = option.removeprefix("query=").strip().rstrip(";")
        _check("query", sql, bool(_SELECT.match(sql)), "a SELECT statement", uri)
        # A project may have dots before its colon, but not after it.
        project, dot, dataset = what.rpartition(".") if "." in what.rpartition(":")[2] else (what, "", "")
        if dot:
            _checked("dataset", dataset, _DATASET, uri)
        return Query(_checked("project", project, _PROJECT, uri), sql, dataset)
    if option:
        known = option.startswith("project=")
        _check("option", option, known, "?project=PROJECT, or ?query=SELECT ... after a project alone", uri)
    parts = what.rsplit(".", 2)
    _check("table", what, len(parts) == 3, "PROJECT.DATASET.TABLE", uri)
    project = _checked("project", parts[0], _PROJECT, uri)
    return Table(
        project,
        _checked("dataset", parts[1], _DATASET, uri),
        _checked("table", parts[2], _TABLE, uri),
        _checked("project", option.removeprefix("project="), _PROJECT, uri) if option else project,
    )


def resolve(uri: str) -> str:
    """The URI of a table; a query is run and replaced by its result.

    BigQuery returns the cached result of an equal query of the last day if the tables did not change.

    Raises:
        UsageError: the query is wrong, or access is denied.
        PlatformError: BigQuery failed.
    """
    named = parse(uri)
    if isinstance(named, Table):
        return named.uri
    sql = f"CREATE OR REPLACE TABLE `{named.result.name}` AS\n{named.sql}" if named.dataset else named.sql
    with translate_errors(uri), closing(bigquery.client(named.payer)) as client:
        job = client.query(sql, retry=bigquery.retry(), job_retry=None)
        job.result(retry=bigquery.retry(), job_retry=None)
        if named.dataset:
            table = client.get_table(named.result.name, retry=bigquery.retry())
            table.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
            client.update_table(table, ["expires"], retry=bigquery.retry())
            return named.result.uri
    result = job.destination
    if result is None:
        raise UsageError("the query returns no rows", where=uri, expected="SELECT", received=str(job.statement_type))
    return Table(result.project, result.dataset_id, result.table_id, named.payer).uri


def version(uri: str) -> str:
    """SHA-256 of a table's name, columns, rows and time of the last change."""
    table = about(uri)
    columns = [field.to_api_repr() for field in table.schema]
    known = f"{table.project}.{table.dataset_id}.{table.table_id}\0{table.modified}\0{table.num_rows}\0{columns}"
    return hashlib.sha256(known.encode()).hexdigest()


def size(uri: str) -> int:
    """Bytes of a table, as BigQuery counts them."""
    return int(about(uri).num_bytes or 0)


class BigQuerySource:
    """BigQuery tables. No row is refused.

    A row's number is its position in a stream; BigQuery assigns rows to streams anew for each read session.
    """

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The table's columns."""
        return [(field.name, _type(field)) for field in about(path).schema]

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[str]:
        """The streams of a new read session for `columns` (or all): a snapshot that can be read for some hours."""
        from google.cloud.bigquery_storage_v1 import types

        table = _table(path)
        options = types.ReadSession.TableReadOptions(selected_fields=list(columns or ()))
        wanted = types.ReadSession(table=table.resource, data_format=types.DataFormat.ARROW, read_options=options)
        with translate_errors(path), _read_client() as client:
            session = client.create_read_session(
                parent=f"projects/{table.payer}",
                read_session=wanted,
                max_stream_count=_MAX_STREAMS,
                retry=_grpc_retry(),
                timeout=bigquery.RETRY_SECONDS,
            )
        return [stream.name for stream in session.streams]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, with their numbers."""
        first = 1
        for stream in self.pieces(path, columns) if piece is None else [piece]:
            waiting: list[pa.RecordBatch] = []
            for batch in _stream(path, stream):
                waiting.append(batch.select(list(columns)))
                while sum(w.num_rows for w in waiting) >= batch_rows:
                    (whole,) = pa.Table.from_batches(waiting).combine_chunks().to_batches()
                    yield whole.slice(0, batch_rows), np.arange(first, first + batch_rows), ()
                    first += batch_rows
                    waiting = [whole.slice(batch_rows)] if whole.num_rows > batch_rows else []
            for whole in pa.Table.from_batches(waiting).combine_chunks().to_batches() if waiting else []:
                yield whole, np.arange(first, first + whole.num_rows), ()
                first += whole.num_rows

    def expected_rows(self, path: str) -> int:
        """The number of rows in the table's metadata."""
        return int(about(path).num_rows or 0)


def _stream(path: str, stream: str) -> Iterator[pa.RecordBatch]:
    with translate_errors(path), _read_client() as client:
        schema = None
        for answer in client.read_rows(stream, retry=_grpc_retry()):
            # The first response of a stream holds the schema.
            if answer.arrow_schema.serialized_schema:
                schema = pa.ipc.read_schema(pa.py_buffer(answer.arrow_schema.serialized_schema))
            yield pa.ipc.read_record_batch(pa.py_buffer(answer.arrow_record_batch.serialized_record_batch), schema)


def _table(uri: str) -> Table:
    named = parse(uri)
    if isinstance(named, Query):
        raise UsageError("a table is needed here", where=uri)
    return named


def about(uri: str) -> Any:
    """A table's metadata, in the form of BigQuery's client.

    Raises:
        DataError: the table does not exist.
        UsageError: the URI is not of a table, or access is denied.
        PlatformError: BigQuery failed.
    """
    table = _table(uri)
    with translate_errors(uri), closing(bigquery.client(table.payer)) as client:
        return client.get_table(table.name, retry=bigquery.retry())


def _type(field: Any) -> pa.DataType:
    if field.field_type in ("RECORD", "STRUCT"):
        kind = pa.struct([(inner.name, _type(inner)) for inner in field.fields])
    else:
        kind = _TYPES.get(field.field_type, pa.string())
    return pa.list_(kind) if field.mode == "REPEATED" else kind


def translate_errors(uri: str) -> AbstractContextManager[None]:
    """Translates BigQuery's errors about `uri`, as `bigquery.translate_errors` does."""
    return bigquery.translate_errors(uri, _ROLES)


@contextmanager
def _read_client() -> Iterator[Any]:
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    emulator = os.environ.get("BIGQUERY_STORAGE_GRPC")
    if not emulator:
        with BigQueryReadClient() as client:  # type: ignore[no-untyped-call]
            yield client
        return
    import grpc  # type: ignore[import-untyped]
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

    with grpc.insecure_channel(emulator) as channel:
        transport = BigQueryReadGrpcTransport(channel=channel)
        yield BigQueryReadClient(transport=transport)  # type: ignore[no-untyped-call]


def _grpc_retry() -> Any:
    from google.api_core.retry import Retry, if_exception_type

    return Retry(
        predicate=if_exception_type(api.ServiceUnavailable, api.DeadlineExceeded), timeout=bigquery.RETRY_SECONDS
    )


def _checked(name: str, value: str, allowed: re.Pattern[str], uri: str) -> str:
    _check(name, value, allowed.fullmatch(value) is not None, f"a valid name of a {name} in BigQuery", uri)
    return value


def _check(name: str, value: str, right: bool, expected: str, uri: str) -> None:
    if not right:
        raise UsageError(f"the {name} is wrong", where=uri, expected=expected, received=repr(value))
