"""From rows to predictions in a bucket: each command reads and writes gs:// and s3:// as it does a disk."""

from __future__ import annotations

from support.command import headrace

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.artifacts.predictions import PredictionsManifest

PROBLEM = b"""
from headrace import Gate, Numeric, Problem

problem = Problem(
    name="lines",
    key="id",
    label=Numeric("y"),
    features=[Numeric("x")],
    gate=Gate(metric="root_mean_squared_error", at_most=100.0),
)
"""
ROWS = "".join(["id,x,y\n", *(f"r{n},{n % 10},{2 * (n % 10) + 1}\n" for n in range(200))])


def done(*arguments: str) -> None:
    ended = headrace(*arguments)
    assert ended.returncode == 0, ended.stderr


def test_from_rows_to_predictions_in_a_bucket(store: str) -> None:
    root = f"{store}/root"
    problem, rows, examples, model, evaluation, predictions = (
        f"{root}/{name}" for name in ("lines.py", "rows.csv", "examples", "model", "evaluation", "predictions")
    )
    storage.write_bytes(problem, PROBLEM)
    storage.write_bytes(rows, ROWS.encode())
    done("preprocess", "--problem", problem, "--data", rows, "--output", examples)
    training = ("--epochs", "2", "--batch-size", "32", "--seed", "1", "--checkpoints", f"{root}/checkpoints")
    done("train", "--problem", problem, "--examples", examples, "--output", model, *training)
    done("evaluate", "--problem", problem, "--examples", examples, "--model", model, "--output", evaluation)
    registry = Registry(f"{root}/registry/lines")
    version = registry.register(model, evaluation)
    done("registry", "promote", f"{root}/registry/lines", version)
    registry.verify(version)
    registered = registry.champion().uri
    assert registered.startswith(f"{root}/registry/lines/versions/{version}/")
    done("score", "--model", registered, "--data", rows, "--output", predictions)
    manifest = PredictionsManifest.read(predictions)
    assert (manifest.rows_in, manifest.rows_out, manifest.model_version) == (200, 200, version)
    assert not [name for name in storage.files_below(store) if ".uploading" in name or name.startswith("root/.")]
