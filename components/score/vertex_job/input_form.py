"""Input form of a batch prediction job: whether a job can read rows in their present form, and if not, why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace.components.score.options import JobOptions
from headrace.components.score.vertex_job import table_input
from headrace.core.saved_model.interface import ModelBinding, ModelInput
from headrace.core.sources.open import source_of
from headrace.core.sources.source import BIGQUERY

# Suffixes of files that a job can read.
_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Form:
    """The form of rows as the input of a job.

    Attributes:
        why: the reason why a job cannot read them, so that they are prepared; "" if it can.
        table: their table, in Vertex AI's notation; "" for files.
        excluded: columns of the table that are excluded from the model's input.
        rows: number of rows of the table, from its metadata.
    """

    why: str = ""
    table: str = ""
    excluded: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def text(self) -> str:
        """The form, for people."""
        return f"rows are prepared for a job: {self.why}" if self.why else "the job reads the rows without preparation"


def form_of(data: str, paths: Sequence[str], takes: ModelBinding, options: JobOptions, partition_by: str = "") -> Form:
    """Finds the form of rows. A job reads JSON lines in Cloud Storage, or a table, with a key and the model's inputs.

    Args:
        data: the rows to score, as named by the user.
        paths: its files; unused for a table or a query.
        takes: the model's inputs.
        options: of the job.
        partition_by: the column whose values become folders, or "".

    Raises:
        DataError: a file cannot be read, or the table does not exist.
        UsageError: access is denied.
        PlatformError: BigQuery failed.
    """
    why = _against(takes, partition_by)
    if why:
        return Form(why)
    if data.startswith(BIGQUERY):
        return _of_table(data, takes, options)
    if not all(path.startswith("gs://") and path.lower().endswith(_JSON_LINES) for path in paths):
        return Form("they are neither JSON lines in Cloud Storage nor a table")
    for path in paths:
        columns = dict(source_of(path).columns(path))
        # Some servers refuse a field that the model does not have, and a job cannot exclude fields of a file.
        unknown = sorted(columns.keys() - {takes.key, *(taken.name for taken in takes.inputs)})
        why = f"the model has no input {unknown[0]}" if unknown else _misfit(columns, takes)
        if why:
            return Form(why)
    return Form()


def _against(takes: ModelBinding, partition_by: str) -> str:
    """The reason why a job cannot read any rows for this model; "" if it can."""
    if takes.key is None:
        return "no column identifies a row"
    if partition_by:
        return "the predictions are partitioned"
    if any(taken.columns != (taken.name,) for taken in takes.inputs):
        return "an input is fed from columns with other names"
    if any(taken.width is not None for taken in takes.inputs):
        return "an input of the model is a list per row, and the rows hold single values"
    if takes.key in {taken.name for taken in takes.inputs} or (takes.key_input is not None and not takes.declared):
        return f"the model has an input {takes.key}, which a job excludes from its input as the key"
    return ""


def _of_table(uri: str, takes: ModelBinding, options: JobOptions) -> Form:
    found = table_input.look_at(uri, options)
    why = found.why or _misfit(found.columns, takes) or table_input.holes(found, takes)
    if why:
        return Form(why)
    fields = {taken.name for taken in takes.inputs}
    excluded = tuple(name for name in found.columns if name not in fields and name != takes.key)
    return Form("", f"bq://{found.name}", excluded, found.rows)


def _misfit(columns: Mapping[str, pa.DataType], takes: ModelBinding) -> str:
    """A column that is missing, or has a type that JSON does not convert to the type of the model's input."""
    key = ModelInput(str(takes.key), "string")
    for taken in (key, *takes.inputs):
        kind = columns.get(taken.name)
        if kind is None:
            if not taken.optional:
                return f"the column {taken.name} does not exist"
        elif not (_fits(kind, taken.dtype) or (taken is key and pa.types.is_integer(kind))):
            return f"the column {taken.name} has a type that a job may convert"
    return ""


def _fits(column: pa.DataType, dtype: str) -> bool:
    if dtype == "string":
        return bool(pa.types.is_string(column))
    if dtype == "bool":
        return bool(pa.types.is_boolean(column))
    return bool(pa.types.is_integer(column) or (dtype.startswith(("float", "bfloat")) and pa.types.is_floating(column)))
