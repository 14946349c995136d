"""From rows to predictions in a bucket: each command reads and writes gs:// and s3:// as it does a disk."""

from __future__ import annotations

from support import lines
from support.command import headrace

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.artifacts.predictions import PredictionsManifest


def done(*arguments: str) -> None:
    ended = headrace(*arguments)
    assert ended.returncode == 0, ended.stderr


def test_from_rows_to_predictions_in_a_bucket(store: str) -> None:
    root = f"{store}/root"
    problem, rows, examples, model, evaluation, predictions = (
        f"{root}/{name}" for name in ("lines.py", "rows.csv", "examples", "model", "evaluation", "predictions")
    )
    storage.write_bytes(problem, lines.PROBLEM.encode())
    storage.write_bytes(rows, lines.rows().encode())
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
