"""Served table: the table of a published folder, or one built of it, opened and verified, with its version and age."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from headrace.components.serve.tables.built import SINKS, build
from headrace.core import storage
from headrace.core.artifacts import published
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.errors import DataError, UsageError
from headrace.core.prediction_table.layout import TableColumn
from headrace.core.prediction_table.reader import PredictionTable
from headrace.core.saved_model.find import checked_name
from headrace.core.saved_model.interface import KEY, SERVING_DEFAULT
from headrace.core.saved_model.json.columns import Interface

# Names of TensorFlow's types that differ from numpy's.
_DTYPES = {"float32": "FLOAT", "float64": "DOUBLE"}


@dataclass(frozen=True)
class ServedTable:
    """A table that a server answers from.

    Attributes:
        table: the open table.
        version: identity of its Predictions.
        published: when it was published; None if that is not known.
    """

    table: PredictionTable
    version: str
    published: datetime.datetime | None

    @property
    def model_version(self) -> str:
        """Version of the model that made the predictions."""
        return self.table.about.model_version

    @property
    def age_s(self) -> float | None:
        """Seconds since it was published; None if that is not known."""
        if self.published is None:
            return None
        return max(0.0, (datetime.datetime.now(datetime.UTC) - self.published).total_seconds())

    def facts(self) -> dict[str, Any]:
        """The table in metadata and health."""
        age = self.age_s
        return {
            "table": {
                "version": self.version,
                "model_version": self.model_version,
                "keys": len(self.table),
                "published": None if self.published is None else self.published.isoformat(),
                "age_s": None if age is None else int(age),
            }
        }

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The table in the headers of a response."""
        age = self.age_s
        aged = [] if age is None else [(b"x-table-age", b"%d" % int(age))]
        return [(b"x-table-version", self.version.encode()), *aged]

    @property
    def bare(self) -> bool:
        """Whether the signature has one output."""
        return len(self.table.columns) + self.table.about.returns_key == 1

    @cached_property
    def binary(self) -> frozenset[str]:
        """Outputs that hold bytes rather than text."""
        return frozenset(column.name for column in self.table.columns if column.kind == "bytes")

    @cached_property
    def interface(self) -> Interface:
        """What a request must hold: the key."""
        return Interface((), takes_key=True, key_name=self.table.about.key)

    @cached_property
    def signature_def(self) -> dict[str, Any]:
        """Inputs and outputs in the form of TensorFlow Serving's metadata."""
        key = {KEY: _tensor_info("STRING", None)}
        outputs = {column.name: _tensor_info(_dtype(column), column.width) for column in self.table.columns}
        return {
            "inputs": key,
            "outputs": {**(key if self.table.about.returns_key else {}), **outputs},
            "method_name": "tensorflow/serving/predict",
        }

    signature = SERVING_DEFAULT


def open_table(uri: str, version: str | None = None) -> ServedTable:
    """Opens the current table of a published folder, after verifying all of its bytes.

    Of published predictions in Parquet or BigQuery a table is built first; its version is that of the predictions.

    Args:
        uri: of the folder; a copy of a table on gs:// is on this machine's disk while it is open.
        version: the version to open; the current one by default.

    Raises:
        UsageError: nothing is published there, or predictions of which no table can be built.
        DataError: the table is damaged.
        PlatformError: it cannot be read.
    """
    folder, manifest = _manifest(uri, version)
    if manifest.sink in SINKS:
        return ServedTable(build(folder), manifest.identity, published.time_of(folder))
    # A mapped file stays readable after its removal.
    with storage.at_hand(folder) as local:
        table = PredictionTable(local / manifest.files[0].file)
    if table.about.identity != manifest.identity:
        raise DataError(
            "the table is of other predictions than its manifest",
            where=folder,
            expected=manifest.identity,
            received=table.about.identity,
            fix="Build the table again",
        )
    return ServedTable(table, manifest.identity, published.time_of(folder))


def _manifest(uri: str, version: str | None) -> tuple[str, PredictionsManifest]:
    """The folder of a version, or of the current one, and its manifest."""
    if not published.is_published(uri):
        raise UsageError(
            "the table to serve does not exist",
            where=f"--prediction-table {uri}",
            expected="a folder of published predictions, with current.json",
            received="other files" if storage.exists(uri) else "nothing",
            fix="Build one: `headrace predictions table PREDICTIONS --output TABLE`",
        )
    version = current_version(uri) if version is None else version
    folder = published.version_uri(uri, version)
    manifest = PredictionsManifest.read(folder)
    if manifest.sink not in SINKS and (manifest.sink != "table" or len(manifest.files) != 1):
        raise UsageError(
            "the published predictions cannot be read by key",
            where=f"--prediction-table {uri}",
            expected="predictions of `headrace predictions table`, or of the sink table, parquet or bigquery",
            received=f"predictions of the sink {manifest.sink}",
            fix="Score again with --sink table",
        )
    return folder, manifest


def name_and_version(uri: str, name: str | None) -> tuple[str, str]:
    """The name in URLs, and the version of the model, of the current table; only its manifest is read.

    Args:
        uri: of the published folder.
        name: overrides the Problem's name.

    Raises:
        UsageError: nothing is published there, or it has no name.
        DataError: a file of it is damaged.
    """
    found = _manifest(uri, None)[1]
    return checked_name(name or found.problem or "model"), found.model_version


def current_version(uri: str) -> str:
    """The current version of a published folder; errors as of `open_table`."""
    version: str = published.look(uri)["current"]
    return version


def _dtype(column: TableColumn) -> str:
    if column.kind != "number":
        return "STRING"
    name = np.dtype(column.dtype).name
    return _DTYPES.get(name, name.upper())


def _tensor_info(dtype: str, width: int | None) -> dict[str, Any]:
    sizes = ["-1", *([] if width is None else [str(width or -1)])]
    return {
        "dtype": f"DT_{dtype}",
        "tensor_shape": {"dim": [{"size": size, "name": ""} for size in sizes], "unknown_rank": False},
        "name": "",
    }
