"""BigQuery loads: tables created with their columns, and files loaded by jobs whose id says what they load.

BigQuery refuses a second job of the same id, so that no file is loaded twice, by whichever worker.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from google.api_core import exceptions as api

from headrace.core import storage
from headrace.core.cloud import bigquery
from headrace.core.errors import PlatformError, UsageError
from headrace.core.sources.bigquery import Table, parse

_ROLES = ("roles/bigquery.dataEditor", "roles/bigquery.jobUser")
_NO_DATASET = "the dataset does not exist, or the file to load is missing"
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
# A failed job's id is spent.
_ATTEMPTS = 20


def check_table(uri: str, option: str) -> Table:
    """The table of a URI.

    Raises:
        UsageError: it is not bigquery://PROJECT.DATASET.TABLE.
    """
    found = parse(uri) if uri.startswith("bigquery://") else None
    if not isinstance(found, Table):
        raise UsageError(
            "it is not a table of BigQuery", where=option, expected="bigquery://PROJECT.DATASET.TABLE", received=uri
        )
    return found


def create_table(uri: str, fields: Sequence[tuple[str, str]], option: str) -> None:
    """Creates a table if it does not exist, or else checks that it has the columns.

    Args:
        uri: bigquery://PROJECT.DATASET.TABLE.
        fields: name and type of each column: STRING, FLOAT, INTEGER or TIMESTAMP.
        option: that names the table, for messages.

    Raises:
        DataError: the dataset does not exist.
        UsageError: the table has other columns; or credentials or permissions are missing.
        PlatformError: the service failed.
    """
    from google.cloud.bigquery import SchemaField
    from google.cloud.bigquery import Table as NewTable

    target = check_table(uri, option)
    with (
        bigquery.translate_errors(uri, _ROLES, _NO_DATASET),
        closing(bigquery.client(target.payer)) as client,
    ):
        client.get_dataset(f"{target.project}.{target.dataset}", retry=bigquery.retry())
        new = NewTable(target.name, schema=[SchemaField(name, kind) for name, kind in fields])
        client.create_table(new, exists_ok=True, retry=bigquery.retry())
        known = {field.name: field.field_type for field in client.get_table(target.name, retry=bigquery.retry()).schema}
    same = {"FLOAT64": "FLOAT", "INT64": "INTEGER"}
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


def load_once(table: str, job: str, content: str | bytes) -> bool:
    """Adds the rows of a Parquet file to a table, unless a job of this id did.

    Args:
        table: bigquery://PROJECT.DATASET.TABLE.
        job: id of the job; characters that ids cannot have become -. The id of a failed job is spent: the next attempt
            has another one, made of it.
        content: URI of the file, or its bytes.

    Returns:
        Whether this call loaded it, and not an earlier one.

    Raises:
        DataError: the dataset does not exist.
        UsageError: the table does not fit, or permissions are missing.
        PlatformError: the service failed; loading again is safe.
    """
    target = check_table(table, "table")
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
