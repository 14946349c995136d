"""What a batch prediction job that reads a table of BigQuery makes of it, and whether it may.

Vertex AI makes an object of each row, in which booleans, strings and numbers of 64 bits stay what they are. What it
makes of NULL it does not say, and JSON has neither NaN nor infinity: a table that holds one of them is prepared.
https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa

from headrace.components.score.options import JobOptions
from headrace.core.cloud import bigquery
from headrace.core.saved_model.interface import Takes
from headrace.core.sources import bigquery as bigquery_source
from headrace.core.sources.bigquery import Query
from headrace.core.sources.source import BIGQUERY

# JSON and others come as strings where we read them, and as something else where Vertex AI does.
_PLAIN: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "INT64": pa.int64(),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
}
# The regions that lie within a location of several, by how their names begin, and those that do not although they do.
_WITHIN = {"us": "us-", "eu": "europe-"}
_WITHOUT = ("europe-west2", "europe-west6")


@dataclass(frozen=True)
class Found:
    """What a table's metadata says.

    Attributes:
        why: a job cannot read it, or "".
        project: that the table is of, and that pays.
        name: as project.dataset.table.
        columns: their types by name; null where a job might change one.
        required: those that never hold NULL.
        rows: how many there are.
    """

    why: str = ""
    project: str = ""
    name: str = ""
    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    rows: int = 0


def look_at(uri: str, options: JobOptions) -> Found:
    """What a job would find, without reading a row.

    Raises:
        DataError: there is no such table.
        UsageError: the URI is wrong, or access is not allowed.
        PlatformError: BigQuery failed.
    """
    named = bigquery_source.parse(uri)
    if isinstance(named, Query):
        return Found("they are what a query gives")
    if {named.project, named.payer} != {options.project}:
        return Found(f"the table is not of {options.project}, where the job runs and pays")
    about = bigquery_source.about(uri)
    if about.table_type != "TABLE":
        return Found(f"{named.name} is no plain table but a {about.table_type.lower().replace('_', ' ')}")
    if about.streaming_buffer is not None:
        return Found("rows are still streamed into the table")
    if about.location and not _is_near(about.location.lower(), options.region):
        return Found(f"the table is in {about.location}, and the job in {options.region}")
    if not about.num_rows:
        return Found("the table is empty")
    plain = {f.name: _PLAIN.get(f.field_type, pa.null()) for f in about.schema if f.mode != "REPEATED"}
    return Found(
        project=named.project,
        name=named.name,
        columns={f.name: plain.get(f.name, pa.null()) for f in about.schema},
        required=frozenset(f.name for f in about.schema if f.mode == "REQUIRED"),
        rows=int(about.num_rows),
    )


def holes(found: Found, takes: Takes) -> str:
    """How many rows hold what a job would have no JSON for, in words; "" if none does.

    BigQuery reads the columns once for it, and for a day knows the answer while the table does not change.
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
    """Whether a job may read what is there: in its own region, or in the location of several that it is one of."""
    if location in _WITHIN:
        return region.startswith(_WITHIN[location]) and region not in _WITHOUT
    return location == region
