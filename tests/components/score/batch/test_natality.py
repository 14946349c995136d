"""Scoring the births with the Model that was trained on them: predictions are those of the model itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from headrace.components.score.batch.training_facts import TrainingFacts
from headrace.components.score.config import ScoreConfig
from headrace.components.score.score import score
from headrace.core import storage
from headrace.core.beam.runners import DirectRunner
from headrace.core.scoring.scorer import Scorer

BIRTHS = Path(__file__).parents[4] / "examples" / "natality" / "births.csv"
IDENTITY = "0123456789abcdef"


@pytest.fixture(scope="module")
def uploaded(natality_model: str) -> dict[str, bytes]:
    """The Model's files."""
    folder = Path(natality_model)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def itself(model: str) -> dict[str, float]:
    """What the SavedModel predicts for each row that is whole, called with tensors made by hand."""
    import tensorflow as tf

    signature = tf.saved_model.load(f"{model}/saved_model").signatures["serving_default"]
    table = pacsv.read_csv(BIRTHS)
    specs = signature.structured_input_signature[1]
    inputs = {}
    for name, spec in specs.items():
        column = table["record_id" if name == "key" else name].to_pylist()
        if spec.dtype == tf.string:
            texts = ["" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in column]
            inputs[name] = tf.constant(texts)
        else:
            inputs[name] = tf.constant([np.nan if v is None else v for v in column], tf.float32)
    predictions = signature(**inputs)["prediction"].numpy()
    return {str(key): float(value) for key, value in zip(table["record_id"].to_pylist(), predictions, strict=True)}


def test_predictions_are_those_of_the_model_itself(natality_model: str, tmp_path: Path) -> None:
    for name, runner in (("plain", None), ("beam", DirectRunner())):
        config = ScoreConfig(natality_model, str(BIRTHS), str(tmp_path / name), IDENTITY, runner=runner)
        result = score(config)
        assert (result.rows_in, result.rows_out, result.reasons) == (1450, 1449, {"missing_value": 1})
        assert (result.approach, result.model_version) == ("direct", "a" * 16)
    assert (tmp_path / "plain" / "manifest.json").read_bytes() == (tmp_path / "beam" / "manifest.json").read_bytes()
    (file,) = (tmp_path / "plain" / "predictions").iterdir()
    made = pq.read_table(file)
    expected = itself(natality_model)
    theirs = np.array([expected[str(key)] for key in made["record_id"].to_pylist()], np.float32)
    # TensorFlow adds up in another order in a batch of another size: up to four units in the last place.
    np.testing.assert_array_max_ulp(made["prediction"].to_numpy(), theirs, maxulp=4)


def test_the_manifest_compares_with_training(natality_model: str, tmp_path: Path) -> None:
    score(ScoreConfig(natality_model, str(BIRTHS), str(tmp_path / "out"), IDENTITY))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["problem"] == "natality"
    training = manifest["distribution"]["training"]
    assert training["output"] == "prediction"
    assert 0 < training["jensen_shannon"] < 1
    assert training["label"]["count"] == 1164


def test_a_model_in_a_bucket(
    natality_model: str, uploaded: dict[str, bytes], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is copied once, and is the same model with the same predictions."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    model = f"gs://{bucket}/models/m"
    for name, content in uploaded.items():
        storage.write_bytes(f"{model}/{name}", content)
    assert TrainingFacts.read(model) == TrainingFacts.read(natality_model)
    here = Scorer(natality_model)
    there = Scorer(model)
    assert (there.model_version, there.takes) == (here.model_version, here.takes)
    assert len(list(scratch.glob("headrace-*"))) == 1
    bare = Scorer(f"{model}/saved_model")
    assert bare.model_version == Scorer(f"{natality_model}/saved_model").model_version
    assert len(bare.model_version) == 16
    score(ScoreConfig(natality_model, str(BIRTHS), str(tmp_path / "here"), IDENTITY))
    assert score(ScoreConfig(model, str(BIRTHS), str(tmp_path / "there"), IDENTITY)).rows_out == 1449
    files = [sorted((tmp_path / name / "predictions").iterdir()) for name in ("here", "there")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


# In a process of its own: in this one, what earlier tests hold decides when objects are freed.
_FREED = """
import gc, sys, tempfile
from pathlib import Path
from headrace.core.scoring.scorer import Scorer

scratch, model = Path(sys.argv[1]), sys.argv[2]
tempfile.tempdir = str(scratch)
there, bare = Scorer(model), Scorer(f"{model}/saved_model")
assert len(list(scratch.glob("headrace-*"))) == 2
del there, bare
gc.collect()
assert list(scratch.glob("headrace-*")) == []
"""


def test_copies_of_a_model_in_a_bucket_go_with_their_scorers(
    uploaded: dict[str, bytes], bucket: str, tmp_path: Path
) -> None:
    for name, content in uploaded.items():
        storage.write_bytes(f"gs://{bucket}/models/m/{name}", content)
    command = [sys.executable, "-c", _FREED, str(tmp_path), f"gs://{bucket}/models/m"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_live_model_of_an_endpoint_tells_what_it_learned_from(natality_model: str, tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "v").symlink_to(natality_model)
    storage.write_json(str(tmp_path / "endpoint.json"), {"format": 1, "live": "v"})
    assert TrainingFacts.read(str(tmp_path)) == TrainingFacts.read(natality_model)
    assert TrainingFacts.read("") == TrainingFacts()
