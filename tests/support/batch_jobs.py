"""Batch prediction jobs for tests: how a run of one is configured, what its container answers, and what came of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.by_hand import predicted

from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.options import JobOptions
from headrace.components.score.vertex_job import run
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.artifacts.quarantine import QuarantinedRow, read_rows

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

IDENTITY = "0123456789abcdef"
PROJECT, REGION = "demo-project", "us-central1"


def container(body: bytes) -> bytes:
    """What ByHand answers, as a server; a batch with a weight of 13.25 is refused."""
    instances = json.loads(body)["instances"]
    if any(set(instance) - {"weight", "color", "id"} for instance in instances):
        raise ValueError("an unknown field")
    weight = np.array([instance["weight"] for instance in instances], np.float32)
    if (weight == 13.25).any():
        raise ValueError("13.25 is refused")
    rows = zip(predicted(weight).tolist(), weight.tolist(), strict=True)
    return json.dumps(
        {
            "predictions": [
                {"prediction": p, "class": "heavy" if w > 50 else "light", "probabilities": [w % 1, 1 - w % 1]}
                for p, w in rows
            ]
        }
    ).encode()


def configured(
    vertex: VertexServer,
    model: str,
    bucket: str,
    folder: Path,
    data: str,
    job_options: dict[str, Any],
    /,
    **options: Any,
) -> ScoreConfig:
    asked = {
        "project": PROJECT,
        "region": REGION,
        "staging": f"gs://{bucket}/staging",
        "model": model,
        "batch_size": 10,
        "poll_seconds": 0.01,
        "api_endpoint": vertex.url,
        **job_options,
    }
    given = {"model": str(folder), "data": data, "output": str(folder / "out"), "identity": IDENTITY, **options}
    return ScoreConfig(**given, approach="job", job=JobOptions(**asked))


def score(config: ScoreConfig, source: Any = None) -> ScoreResult:
    assert config.job is not None
    return run.score(config, config.job, source=source)


def predictions(folder: Path) -> pa.Table:
    manifest = PredictionsManifest.read(str(folder))
    return pa.concat_tables([pq.read_table(folder / file.file, partitioning=None) for file in manifest.files])


def quarantined(folder: Path) -> list[QuarantinedRow]:
    manifest = PredictionsManifest.read(str(folder))
    return [row for file in manifest.quarantine.files for row in read_rows(str(folder / file))]


def requests(vertex: VertexServer, pattern: str) -> int:
    return sum(bool(re.search(pattern, request)) for request in vertex.requests)


def jobs_of(vertex: VertexServer) -> list[Any]:
    return [kept for name, kept in vertex.vertex.resources.items() if "/batchPredictionJobs/" in name]
