"""`headrace train` in every process of a cluster, with nothing but TF_CONFIG or CLUSTER_SPEC to tell them apart."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers.local_cluster import LocalCluster

from headrace.core.problem.file import ProblemFile


def command(file: ProblemFile, examples: Path, output: Path, *more: str) -> list[str]:
    given = ["--problem", file.path, "--examples", str(examples), "--output", str(output), "--steps", "60"]
    return [sys.executable, "-m", "headrace.pipelines.cli", "train", *given, *more]


def record(output: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((output / "training.json").read_text())
    return loaded


def predictions(output: Path) -> list[float]:
    golden = json.loads((output / "golden.json").read_text())
    return [one["prediction"] for one in golden["predictions"]]


def test_two_workers_publish_the_model_that_one_process_does(
    natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Any], tmp_path: Path
) -> None:
    output = tmp_path / "model"
    cluster = LocalCluster(
        {"worker": 2}, command(natality, natality_examples, output, "--checkpoint-steps", "20"), tmp_path / "said"
    )
    statuses = cluster.wait(850)
    assert statuses == {("worker", 0): 0, ("worker", 1): 0}, cluster.printed_by("worker", 0).read_text()
    told, alone = record(output), train_in(natality, natality_examples, steps=60)
    assert told["strategy"]["name"] == "MultiWorkerMirrored"
    assert (told["batch_size"], told["batch_size_per_replica"], told["replicas"]) == (32, 16, 2)
    assert told["input"]["sharding"].startswith("by record")
    np.testing.assert_allclose(predictions(output), predictions(alone.folder), rtol=1e-5)
    assert told["history"]["eval_loss"] == pytest.approx(alone.training["history"]["eval_loss"], rel=1e-5)
    # The checkpoints went with the run.
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"model", "said"}
