"""Published prediction tables for tests of servers: of a model's own predictions, and made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.by_hand import TAKES, ByHand

from headrace.components.score.batch.run import score
from headrace.components.score.config import ScoreConfig
from headrace.components.score.publishing import publish


def table_of_model(model: str, rows: Sequence[Mapping[str, Any]], folder: Path, **options: Any) -> str:
    """A published table of a model's predictions for rows, which hold the model's columns."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), folder / "rows.parquet")
    config = ScoreConfig(model, str(folder / "rows.parquet"), str(folder / "out"), "a" * 16, sink="table", **options)
    score(config)
    return publish_table(folder / "out", folder / "published")


def table_by_hand(
    folder: Path, keys: Sequence[str], identity: str, weight: float = 1.0, version: str = "v1", sink: Any = "table"
) -> str:
    """A published table, or predictions in another sink, with the prediction 2 * weight + 0.1 for each key."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(keys), "weight": np.full(len(keys), weight), "color": ["red"] * len(keys)})
    pq.write_table(table, folder / "rows.parquet")
    config = ScoreConfig("m", str(folder / "rows.parquet"), str(folder / identity), identity, sink=sink)
    score(config, source=ByHand(takes=TAKES, model_version=version))
    return publish_table(folder / identity, folder / "published")


def publish_table(predictions: Path, place: Path) -> str:
    """Publishes Predictions, and returns the published folder."""
    publish(str(predictions), str(place))
    return str(place)
