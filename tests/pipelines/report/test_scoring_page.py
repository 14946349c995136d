"""The report of a batch scoring run: rows, the model, how and how fast, and the predictions beside the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.html_page import Page

from headrace.components.score.batch.drift import OutputDistributions
from headrace.components.score.batch.training_facts import TrainingFacts
from headrace.core.artifacts.examples import Quarantine, Shard, SourceFile
from headrace.core.artifacts.predictions import OutputColumn, PredictionsManifest
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_lines
from headrace.pipelines.report.page import render

REASON = "there are about 60,000,000 rows, which a job reads where they are"
QUARANTINE = "quarantine/part-00000-of-00001.jsonl"


def measured(values: Any) -> dict[str, Any]:
    return OutputDistributions.measure(pa.RecordBatch.from_pydict({"of": pa.array(values)}), ["of"]).to_json()["of"]  # type: ignore[no-any-return]


def written(folder: Path, predictions: dict[str, Any], label: dict[str, Any] | None) -> None:
    """A Predictions artifact of 100 rows, of which three are in quarantine."""
    manifest = PredictionsManifest(
        identity="0123456789abcdef",
        problem="natality",
        model_version="3f2a91bc07de4455",
        approach="job",
        signature="serving_default",
        data_version="5e" * 32,
        source=(SourceFile("births.csv", 1000, 100),),
        rows_in=100,
        rows_out=97,
        rows_quarantined=3,
        sink="parquet",
        files=(Shard("predictions/part-0.parquet", 97, 10, "00000000"),),
        destination=None,
        partition_by=None,
        columns=(OutputColumn("prediction", "float"),),
        quarantine=Quarantine(0.05, {"missing_value": 2, "model_failed": 1}, (QUARANTINE,)),
        distribution={"predictions": predictions, "training": TrainingFacts(label=label).compared(predictions)},
        notes=("10 rows are sent again",),
        rules={
            "mode": "warn",
            "refused": {"missing_value": {"weight": 2}},
            "predicted": {"out_of_range": {"weight": 7}, "unknown_value": {"race": 1}},
        },
    )
    (folder / "quarantine").mkdir(parents=True)
    fault = Fault("weight", "missing_value", "weight is <missing>")
    (folder / QUARANTINE).write_bytes(to_lines([QuarantinedRow("births.csv", 8, fault, {"weight": None})]))
    manifest.write(str(folder))


def summary(folder: Path, **changes: Any) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {
        "champion": {"version": "3f2a91bc07de4455"},
        "score": {"rows_in": 100, "rows_out": 97, "approach": "job", "approach_reason": REASON},
        "check": {"divergence": 0.0123456},
        "publish": {"published": "out/predictions/natality/versions/0123456789abcdef", "previous": "fedcba9876543210"},
    }
    steps = [
        {
            "step": name,
            "identity": f"{name:0<16}",
            "status": "succeeded",
            "seconds": 4.5,
            "import_seconds": 0.5,
            "outputs": {"predictions": str(folder)} if name == "score" else {},
            "result": result,
            "error": None,
        }
        for name, result in results.items()
    ]
    run = {"pipeline": "batch-scoring", "run_id": "natality-scoring-1", "problem": "natality", "status": "succeeded"}
    return {**run, "started": 1795250000.0, "finished": 1795250047.3, "steps": steps, "error": None, **changes}


@pytest.fixture
def predicted() -> dict[str, Any]:
    return {"prediction": measured(np.linspace(5, 9, 97, dtype=np.float32)), "class": measured(["light", "heavy"] * 48)}


def test_the_key_numbers_are_on_the_page(tmp_path: Path, predicted: dict[str, Any]) -> None:
    label = measured(np.linspace(4, 10, 500))
    written(tmp_path, predicted, label)
    html = render(summary(tmp_path))
    page = Page(html)
    for expected in (
        "Scored and published",
        "97 predictions of version 3f2a91bc07de4455 are at out/predictions/natality/versions/0123456789abcdef.",
        "Those of fedcba9876543210 stay available for a rollback.",
        "100 in = 97 out + 3 quarantined",
        "The model failed on the row",
        "3.00 % of the rows; the maximum is 5 %",
        "births.csv, row 8",
        "weight is <missing>",
        "2 more quarantined rows are in the quarantine folder of the Predictions.",
        f"job: {REASON}",
        "10 rows are sent again",
        "counted: rows that break one are predicted",
        "race unknown_value 0 1",
        "weight missing_value 2 0",
        "weight out_of_range 0 7",
        "Rows per second 25 with loading the model",
        "4 of 4 steps ran",
        "drift 0.0123",
        "label in training",
    ):
        assert expected in page.text
    apart = TrainingFacts(label=label).compared(predicted)
    assert apart is not None
    assert f"{apart['jensen_shannon']:.3g}" in page.text
    # The quantiles that are told of 21: the median of both is 7.
    assert "50 % 7.0" in page.text
    assert 'aria-label="The pipeline: champion succeeded, score succeeded, check succeeded, publish succeeded."' in html
    assert "Learning curves" not in page.text
    assert "None" not in page.text


def test_a_model_that_says_nothing_of_its_training(tmp_path: Path, predicted: dict[str, Any]) -> None:
    written(tmp_path, {"class": predicted["class"]}, None)
    page = Page(render(summary(tmp_path)))
    assert "Jensen-Shannon" not in page.text
    assert "Label in training" not in page.text
    assert "heavy" in page.text


def test_a_run_that_failed_before_anything_was_scored(tmp_path: Path) -> None:
    error = {"what": "the registry has no champion", "exit_status": 2, "where": "out/registry/natality"}
    run = summary(tmp_path, status="failed", error=error)
    for step in run["steps"]:
        step |= {"status": "skipped", "outputs": {}, "result": {}, "seconds": None}
    run["steps"][0] |= {"status": "failed", "error": error}
    page = Page(render(run))
    assert "Failed in champion" in page.text
    assert "The registry has no champion." in page.text
    assert "Predictions" not in page.text


def test_files_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    page = Page(render(summary(tmp_path / "gone")))
    assert "Some files could not be read" in page.text
    assert f"job: {REASON}" in page.text
