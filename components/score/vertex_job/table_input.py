"""BigQuery input of a batch prediction job: whether a job can read a table without preparation.

Vertex AI converts each row to an object, in which booleans, strings and numbers of 64 bits keep their values. Its
conversion of NULL is not documented, and JSON has neither NaN nor infinity: a table with any of them is prepared.
https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa

from headrace.components.score.options import JobOptions
from headrace.core.cloud import bigquery
from headrace.core.saved_model.interface import ModelBinding
from headrace.core.sources import bigquery as bigquery_source
from headrace.core.sources.bigquery import Query
from headrace.core.sources.source import BIGQUERY

# Columns of JSON and some other types are strings in headrace's reader, and another type in Vertex AI's.
_PLAIN: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "INT64": pa.int64(),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
}
# Prefixes of the regions in a multi-region, and exceptions: regions with such a prefix that are not in it.
_WITHIN = {"us": "us-", "eu": "europe-"}
_WITHOUT = ("europe-west2", "europe-west6")


@dataclass(frozen=True)
class TableMetadata:
    """The metadata of a table.

    Attributes:
        why: the reason why a job cannot read it, or "".
        project: the project of the table, which pays.
        name: as project.dataset.table.
        columns: types by name; null for a type that a job might convert.
        required: columns without NULL.
        rows: number of rows.
    """

    why: str = ""
    project: str = ""
    name: str = ""
    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    rows: int = 0


def look_at(uri: str, options: JobOptions) -> TableMetadata:
    """Reads the metadata of a table.

    Raises:
        DataError: the table does not exist.
        UsageError: the URI is wrong, or access is denied.
        PlatformError: BigQuery failed.
    """
    named = bigquery_source.parse(uri)
    if isinstance(named, Query):
        return TableMetadata("they are the result of a query")
    if {named.project, named.payer} != {options.project}:
        return TableMetadata(f"the table is not in {options.project}, the project of the job")
    about = bigquery_source.about(uri)
    if about.table_type != "TABLE":
        return TableMetadata(f"{named.name} is not a table but a {about.table_type.lower().replace('_', ' ')}")
    if about.streaming_buffer is not None:
        return TableMetadata("rows are being streamed into the table")
    if about.location and not _is_near(about.location.lower(), options.region):
        return TableMetadata(f"the table is in {about.location}, and the job in {options.region}")
    if not about.num_rows:
        return TableMetadata("the table is empty")
    plain = {f.name: _PLAIN.get(f.field_type, pa.null()) for f in about.schema if f.mode != "REPEATED"}
    return TableMetadata(
        project=named.project,
        name=named.name,
        columns={f.name: plain.get(f.name, pa.null()) for f in about.schema},
        required=frozenset(f.name for f in about.schema if f.mode == "REQUIRED"),
        rows=int(about.num_rows),
    )


def holes(found: TableMetadata, takes: ModelBinding) -> str:
    """The number of rows with values that JSON cannot represent, for people; "" if no row has such a value.

    BigQuery reads the columns once, and caches the result for a day while the table does not change.
    """
    checks = []
    for name in (name for name in takes.columns if name in found.columns):
        if name not in found.required:
            checks.append(f"`{name}` IS NULL")
        if pa.types.is_floating(found.columns[name]):
            checks.append(f"IS_NAN(`{name}`) OR IS_INF(`{name}`)")
    if not checks:
        return ""
    # Neither a table's name, which is checked, nor a column's can hold the quote.
    sql = f"SELECT COUNTIF({' OR '.join(checks)}) FROM `{found.name}`"  # noqa: S608
    uri = f"{BIGQUERY}{found.name}"
    with bigquery_source.translate_errors(uri), closing(bigquery.client(found.project)) as client:
        job = client.query(sql, retry=bigquery.retry(), job_retry=None)
        ((count,),) = job.result(retry=bigquery.retry(), job_retry=None)
    return f"{count:,} of them hold NULL, NaN or infinity" if count else ""


def _is_near(location: str, region: str) -> bool:
    """Whether a job may read a location: its own region, or the multi-region that contains it."""
    if location in _WITHIN:
        return region.startswith(_WITHIN[location]) and region not in _WITHOUT
    return location == region
