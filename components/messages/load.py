"""Loads into BigQuery: each file by a load job whose id is made of its window, so that no file is loaded twice."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
from google.api_core import exceptions as api

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.dead_letters import FIELDS
from headrace.components.messages.spans import schema_of
from headrace.core import storage
from headrace.core.cloud import bigquery
from headrace.core.errors import PlatformError, UsageError
from headrace.core.sources.bigquery import Table, parse

_ROLES = "the roles BigQuery Data Editor on the dataset and BigQuery Job User"
_NO_DATASET = "the dataset does not exist, or the file to load is missing"
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
# A failed job's id is spent.
_ATTEMPTS = 20


def create_tables(config: MessagesConfig) -> None:
    """Creates the tables that do not exist, and checks the columns of those that do.

    Raises:
        DataError: a dataset does not exist.
        UsageError: a table has other columns; or credentials or permissions are missing.
        PlatformError: the service failed.
    """
    if config.table:
        kinds = {pa.float64(): "FLOAT", pa.string(): "STRING"}
        _create(config.table, [(field.name, kinds[field.type]) for field in schema_of(config.columns)], "--table")
    if config.dead_letter_table:
        fields = [(name, "TIMESTAMP" if name == "published" else "STRING") for name in FIELDS]
        _create(config.dead_letter_table, fields, "--dead-letter-table")


def load_span(config: MessagesConfig, span: str) -> bool:
    """Loads the file of a span; returns whether this call did, and not an earlier one.

    Raises:
        DataError: the dataset does not exist.
        UsageError: the table does not fit, or permissions are missing.
        PlatformError: the service failed; loading again is safe.
    """
    return _load(config.table, f"headrace-{config.stream}-{span}", config.span_uri(span))


def load_dead_letters(config: MessagesConfig, uri: str, parquet: bytes) -> bool:
    """Loads dead letters; returns and errors as of `load_span`.

    Args:
        config: names the table.
        uri: of their file, whose name makes the job's id.
        parquet: its content as Parquet.
    """
    name = uri.rpartition("/")[2].removesuffix(".jsonl")
    return _load(config.dead_letter_table, f"headrace-{config.stream}-dead-{name}", parquet)


def _create(uri: str, fields: Sequence[tuple[str, str]], option: str) -> None:
    from google.cloud.bigquery import SchemaField
    from google.cloud.bigquery import Table as NewTable

    target = _table(uri)
    with (
        bigquery.translate_errors(uri, _ROLES, _NO_DATASET),
        closing(bigquery.client(target.payer)) as client,
    ):
        client.get_dataset(f"{target.project}.{target.dataset}", retry=bigquery.retry())
        new = NewTable(target.name, schema=[SchemaField(name, kind) for name, kind in fields])
        client.create_table(new, exists_ok=True, retry=bigquery.retry())
        known = {field.name: field.field_type for field in client.get_table(target.name, retry=bigquery.retry()).schema}
    same = {"FLOAT64": "FLOAT"}
    wrong = [
        f"{name} ({kind}): {known.get(name, 'missing')}"
        for name, kind in fields
        if same.get(known.get(name, ""), known.get(name)) != kind
    ]
    if wrong:
        raise UsageError(
            "the table has other columns",
            where=option,
            expected=", ".join(f"{name} ({kind})" for name, kind in fields),
            received="; ".join(wrong),
            fix="Name another table, or one that does not exist",
        )


def _load(table: str, job: str, content: str | bytes) -> bool:
    """Loads a file by its URI, or its bytes, by a job of this id, or of the next one where that job failed."""
    target = _table(table)
    last: object = ""
    with (
        bigquery.translate_errors(table, _ROLES, _NO_DATASET),
        closing(bigquery.client(target.payer)) as client,
    ):
        # Without it, jobs of a region are not found.
        location = client.get_table(target.name, retry=bigquery.retry()).location
        for attempt in range(_ATTEMPTS):
            name = _NOT_IN_IDS.sub("-", job if attempt == 0 else f"{job}-{attempt}")
            begun, mine = _found(client, name, location), False
            if begun is None:
                try:
                    begun, mine = _begin(client, target, name, location, content), True
                except api.Conflict:
                    # Another worker began it meanwhile.
                    begun = client.get_job(name, location=location, retry=bigquery.retry())
            try:
                begun.result(retry=bigquery.retry())
            except api.GoogleAPICallError as error:
                # A failed job has loaded nothing, and its id is spent. An own one is not tried again in this call.
                if mine or not begun.error_result:
                    raise
                last = error
                continue
            return mine
    raise PlatformError(
        "every load job of the file failed",
        where=table,
        expected=f"one of {_ATTEMPTS} to succeed",
        received=str(last)[:300],
    )


def _found(client: Any, name: str, location: str) -> Any:
    try:
        return client.get_job(name, location=location, retry=bigquery.retry())
    except api.NotFound:
        return None


def _begin(client: Any, target: Table, name: str, location: str, content: str | bytes) -> Any:
    from google.cloud.bigquery import LoadJobConfig

    config = LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    options = {"job_id": name, "location": location, "job_config": config}
    if isinstance(content, bytes):
        return client.load_table_from_file(io.BytesIO(content), target.name, **options)
    if storage.is_remote(content):
        return client.load_table_from_uri([content], target.name, retry=bigquery.retry(), **options)
    with storage.open_input(content) as file:
        return client.load_table_from_file(file, target.name, **options)


def _table(uri: str) -> Table:
    found = parse(uri)
    if not isinstance(found, Table):
        raise UsageError("it is not a table", where=uri, expected="bigquery://PROJECT.DATASET.TABLE")
    return found
