"""Table of predictions: one job loads the predictions of a window into BigQuery, with their digest in its id."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.gcp.pubsub import PubsubMessage

from headrace.components.stream.pubsub.stages import METRICS, PREFIX
from headrace.components.stream.records.score import EPOCH, VERSION
from headrace.core.beam.launch import count
from headrace.core.beam.windows import Windows
from headrace.core.sources.bigquery_load import create_table, load_once

FIELDS = (
    ("message_id", "STRING"),
    ("published", "TIMESTAMP"),
    ("attributes", "STRING"),
    ("prediction", "STRING"),
    (VERSION, "STRING"),
    (EPOCH, "INTEGER"),
)
_KINDS = {"STRING": pa.string(), "TIMESTAMP": pa.timestamp("us", "UTC"), "INTEGER": pa.int64()}


def create(uri: str) -> None:
    """Creates the table if it does not exist. Raises the errors of `create_table`."""
    create_table(uri, FIELDS, "--bigquery-table")


class ByWindow(beam.DoFn):
    """Prediction -> (window of the record's publication, encoded row)."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def process(self, message: PubsubMessage, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[tuple[str, bytes]]:
        """Converts a prediction to a row of the table."""
        published = datetime.fromtimestamp(float(timestamp), UTC)
        content = json.loads(message.data)
        # Predictions of an endpoint have no epoch, and perhaps no version.
        version, epoch = content.pop(VERSION, None), content.pop(EPOCH, None)
        own = {name: text for name, text in message.attributes.items() if not name.startswith(PREFIX)}
        row = {
            "message_id": message.attributes[f"{PREFIX}message-id"],
            "published": published.isoformat(),
            "attributes": json.dumps(own),
            "prediction": json.dumps(content),
            VERSION: version,
            EPOCH: epoch,
        }
        yield self._windows.span_of(published), json.dumps(row).encode()


class LoadPredictions(beam.DoFn):
    """(window, rows) -> rows of the table, each loaded once."""

    def __init__(self, table: str, app: str) -> None:
        self._table = table
        self._app = app

    def process(self, element: tuple[str, Iterable[bytes]]) -> None:
        """Loads the rows, unless they are already loaded."""
        window, rows = element
        # Sorted, so that a retried bundle has the same digest.
        ordered = sorted(rows)
        digest = hashlib.sha256(b"\n".join(ordered)).hexdigest()[:16]
        if load_once(self._table, f"headrace-{self._app}-{window}-{digest}", as_parquet(ordered)):
            count(METRICS, {"loaded": len(ordered)}, {})


def as_parquet(rows: Iterable[bytes]) -> bytes:
    """The rows as the content of a Parquet file."""
    plain = [json.loads(row) for row in rows]
    for row in plain:
        row["published"] = datetime.fromisoformat(row["published"])
    arrays = [pa.array([row[name] for row in plain], _KINDS[kind]) for name, kind in FIELDS]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=[name for name, _ in FIELDS]), out)
    return out.getvalue()
