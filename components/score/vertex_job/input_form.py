"""Whether a batch prediction job can read rows as they lie, and if not, why they are prepared for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace.components.score.options import JobOptions
from headrace.components.score.vertex_job import table_input
from headrace.core import storage
from headrace.core.saved_model.interface import ModelInput, Takes
from headrace.core.sources.open import source_of
from headrace.core.sources.source import BIGQUERY

# What the names of files end in that a job can read.
_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Form:
    """How rows lie, as far as a job is concerned.

    Attributes:
        why: a job cannot read them and they are prepared for it, in words; "" if it can.
        table: that they are in, as Vertex AI names it; "" for files.
        excluded: columns of the table that the model is not given.
        rows: of the table, as its metadata counts them.
    """

    why: str = ""
    table: str = ""
    excluded: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def text(self) -> str:
        """What is said of it."""
        return f"rows are prepared for a job: {self.why}" if self.why else "a job reads the rows as they lie"


def form_of(data: str, paths: Sequence[str], takes: Takes, options: JobOptions, partition_by: str = "") -> Form:
    """The form of rows. A job reads JSON lines in Cloud Storage, or a table, that hold a key and what the model takes.

    Args:
        data: what is scored, as it was named.
        paths: its files; none are needed of a table or a query.
        takes: what the model takes.
        options: where the job runs.
        partition_by: the column whose values become folders, or "".

    Raises:
        DataError: a file cannot be read, or the table is not there.
        UsageError: access is not allowed.
        PlatformError: BigQuery failed.
    """
    why = _against(takes, partition_by)
    if why:
        return Form(why)
    if data.startswith(BIGQUERY):
        return _of_table(data, takes, options)
    if not all(storage.is_remote(path) and path.lower().endswith(_JSON_LINES) for path in paths):
        return Form("they are not all JSON lines in Cloud Storage, nor a table")
    for path in paths:
        columns = dict(source_of(path).columns(path))
        # A field that the model does not know would be refused by some servers, and nothing takes it out of a file.
        unknown = sorted(columns.keys() - {takes.key, *(taken.name for taken in takes.inputs)})
        why = f"the model does not take {unknown[0]}" if unknown else _misfit(columns, takes)
        if why:
            return Form(why)
    return Form()


def _against(takes: Takes, partition_by: str) -> str:
    """What speaks against it whatever the rows are."""
    if takes.key is None:
        return "no column identifies a row"
    if partition_by:
        return "the predictions are partitioned"
    if any(taken.columns != (taken.name,) for taken in takes.inputs):
        return "an input is fed from columns of other names"
    if any(taken.width is not None for taken in takes.inputs):
        return "the model takes a list in each row, and the rows hold single values"
    if takes.key in {taken.name for taken in takes.inputs} or (takes.key_input is not None and not takes.declared):
        return f"the model takes {takes.key}, which a job keeps from it as the key"
    return ""


def _of_table(uri: str, takes: Takes, options: JobOptions) -> Form:
    found = table_input.look_at(uri, options)
    why = found.why or _misfit(found.columns, takes) or table_input.holes(found, takes)
    if why:
        return Form(why)
    fields = {taken.name for taken in takes.inputs}
    excluded = tuple(name for name in found.columns if name not in fields and name != takes.key)
    return Form("", f"bq://{found.name}", excluded, found.rows)


def _misfit(columns: Mapping[str, pa.DataType], takes: Takes) -> str:
    """What columns lack, or hold in another type than would come out of JSON as the model takes it."""
    key = ModelInput(str(takes.key), "string")
    for taken in (key, *takes.inputs):
        kind = columns.get(taken.name)
        if kind is None:
            if not taken.optional:
                return f"there is no column {taken.name}"
        elif not (_fits(kind, taken.dtype) or (taken is key and pa.types.is_integer(kind))):
            return f"the column {taken.name} is not of a type that a job can leave as it is"
    return ""


def _fits(column: pa.DataType, dtype: str) -> bool:
    if dtype == "string":
        return bool(pa.types.is_string(column))
    if dtype == "bool":
        return bool(pa.types.is_boolean(column))
    return bool(pa.types.is_integer(column) or (dtype.startswith(("float", "bfloat")) and pa.types.is_floating(column)))
