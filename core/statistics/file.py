"""Statistics file: statistics as bytes that can be read back and merged, with their sketches.

It is an Arrow IPC file with one row per column. Equal statistics give equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.core.errors import DataError
from headrace.core.statistics.measure import CategoricalStatistics, ColumnStatistics, NumericStatistics, TableStatistics
from headrace.core.statistics.sketches import FrequentTexts, Quantiles
from headrace.core.statistics.weighted import WeightedLabel

_FORMAT = b"1"
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("kind", pa.string()),
        ("count", pa.int64()),
        ("missing", pa.int64()),
        ("mean", pa.float64()),
        ("squares", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        ("values", pa.large_list(pa.float64())),
        ("texts", pa.large_list(pa.large_binary())),
        ("counts", pa.large_list(pa.int64())),
        ("digest", pa.large_binary()),
        ("frequent", pa.large_binary()),
        ("distinct", pa.large_binary()),
    ]
)


def to_bytes(statistics: TableStatistics) -> bytes:
    """Serializes statistics for `from_bytes`."""
    rows = [_row(name, column) for name, column in statistics.columns.items()]
    metadata = {"format": _FORMAT, "rows": str(statistics.rows)}
    if statistics.weighted is not None:
        metadata["weighted"] = json.dumps(dataclasses.asdict(statistics.weighted), sort_keys=True)
    exponents = {
        name: column.exponent
        for name, column in statistics.columns.items()
        if isinstance(column, NumericStatistics) and column.exponent
    }
    if exponents:
        metadata["exponents"] = json.dumps(exponents, sort_keys=True)
    schema = _SCHEMA.with_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        file.write_table(pa.Table.from_pylist(rows, schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_bytes(content: bytes) -> TableStatistics:
    """Deserializes statistics from `to_bytes`.

    Raises:
        DataError: the content is something else.
    """
    try:
        table = pa.ipc.open_file(content).read_all()
        metadata = table.schema.metadata or {}
        if metadata.get(b"format") != _FORMAT:
            raise DataError(
                "the statistics have an unsupported format version", expected="1", received=str(metadata.get(b"format"))
            )
        exponents = json.loads(metadata.get(b"exponents", b"{}"))
        columns = {row["name"]: _column(row, exponents.get(row["name"], 0)) for row in table.to_pylist()}
        weighted = WeightedLabel(**json.loads(metadata[b"weighted"])) if b"weighted" in metadata else None
        return TableStatistics(int(metadata[b"rows"]), columns, weighted)
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise DataError("the content is not statistics that can be merged", received=str(error)) from error


def _row(name: str, column: ColumnStatistics) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": name, "count": column.count, "missing": column.missing}
    if isinstance(column, NumericStatistics):
        plain |= {field: getattr(column, field) for field in ("mean", "squares", "minimum", "maximum")}
        sketch = column.sketch
        return {
            **plain,
            "kind": "numeric",
            "values": sketch.values.tolist(),
            "counts": sketch.counts.tolist(),
            "digest": sketch.digest,
        }
    counts = column.ordered()
    texts = [text.encode("utf-8", "surrogatepass") for text in counts]
    plain |= {"kind": "categorical", "texts": texts, "counts": list(counts.values())}
    if column.sketch is not None:
        plain |= {"frequent": column.sketch.frequent, "distinct": column.sketch.distinct}
    return plain


def _column(row: dict[str, Any], exponent: int) -> ColumnStatistics:
    if row["kind"] == "numeric":
        sketch = Quantiles(np.array(row["values"], np.float64), np.array(row["counts"], np.int64), row["digest"])
        numbers = {field: row[field] for field in ("count", "missing", "mean", "squares", "minimum", "maximum")}
        return NumericStatistics(**numbers, sketch=sketch, exponent=exponent)
    texts = [text.decode("utf-8", "surrogatepass") for text in row["texts"]]
    frequent = None if row["frequent"] is None else FrequentTexts(row["frequent"], row["distinct"])
    return CategoricalStatistics(row["count"], row["missing"], dict(zip(texts, row["counts"], strict=True)), frequent)
