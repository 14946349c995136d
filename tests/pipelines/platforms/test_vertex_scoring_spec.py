"""Batch scoring as it is compiled for Vertex AI: in its task, on Dataflow, or by a batch prediction job of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.core.beam.runners import DataflowRunner, runner_of
from headrace.core.errors import UsageError
from headrace.pipelines.compiler import compile_to
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.spec import SpecTask, read_spec

OPTIONS = Path(__file__).with_name("vertex.toml")
TABLE = '\n[vertex.batch_prediction]\nstaging = "gs://my-bucket/staging"\nreplicas = 5\nbatch_size = 128\n'


def compiled(folder: Path, more: str) -> Path:
    (folder / "options.toml").write_text(OPTIONS.read_text() + more)
    compile_to("batch-scoring", "vertex", str(folder / "batch.yaml"), options_file=str(folder / "options.toml"))
    assert lint(str(folder / "batch.yaml"), "vertex") == []
    return folder / "batch.yaml"


def tasks_of(path: Path) -> dict[str, SpecTask]:
    return {task.where.rpartition(".")[2]: task for task in read_spec(str(path)).tasks()}


def test_scoring_is_a_task_that_starts_its_workers_on_dataflow(tmp_path: Path) -> None:
    path = compiled(tmp_path, "")
    found = tasks_of(path)
    assert {"champion", "score", "check", "publish", "notify"} <= set(found)
    assert "model-batch-predict" not in found
    definitions = read_spec(str(path)).pipeline["root"]["inputDefinitions"]["parameters"]
    runner = runner_of(definitions["runner"]["defaultValue"])
    assert isinstance(runner, DataflowRunner)
    assert runner.sdk_container_image.startswith("europe-docker.pkg.dev/my-project/headrace/beam-worker@")
    model = found["score"].spec["inputs"]["parameters"]["model"]["taskOutputParameter"]
    assert model == {"outputParameterKey": "model", "producerTask": "champion"}


def test_scoring_is_a_batch_prediction_job_between_two_tasks(tmp_path: Path) -> None:
    path = compiled(tmp_path, TABLE)
    found = tasks_of(path)
    assert found["prepare"].spec["dependentTasks"] == ["champion"]
    assert sorted(found["model-batch-predict"].spec["dependentTasks"]) == ["importer"]
    assert found["score"].spec["dependentTasks"] == ["model-batch-predict"]
    # Without rows there is no job, and the same task says so.
    assert "dependentTasks" not in found["score-2"].spec
    assert {n: v for n, v in found["score-2"].inputs().items() if "pipelinechannel" not in str(v)}["approach"] == "job"
    assert json.loads(found["prepare"].inputs()["options"]) == {
        "project": "my-project",
        "region": "europe-west1",
        "staging": "gs://my-bucket/staging",
        "replicas": 5,
        "batch_size": 128,
        "service_account": "headrace@my-project.iam.gserviceaccount.com",
    }
    job = found["model-batch-predict"].inputs()
    assert (job["project"], job["location"], job["machine_type"]) == ("my-project", "europe-west1", "n2-standard-4")
    assert (job["max_replica_count"], job["manual_batch_tuning_parameters_batch_size"]) == (5, 128)
    assert found["model-batch-predict"].spec["retryPolicy"]["maxRetryCount"] == 2
    # What collects its results, and what tells of the end, know that a job was asked for, whoever submits what.
    assert found["score"].inputs()["approach"] == found["notify"].inputs()["approach"] == "job"
    launcher = read_spec(str(path)).executor_of(found["model-batch-predict"])
    assert launcher["image"].startswith("gcr.io/ml-pipeline/google-cloud-pipeline-components@sha256:")
    definitions = read_spec(str(path)).pipeline["root"]["inputDefinitions"]["parameters"]
    assert definitions["runner"]["defaultValue"] == ""


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("gs://my-bucket/staging", "/tmp/staging", "staging is wrong"),
        ("replicas = 5", "replicas = 0", "replicas is wrong"),
        ("batch_size = 128", 'machine_type = "n9-standard"', "n9-standard is not a machine type of Google Cloud"),
    ],
)
def test_what_a_job_would_be_refused_for_is_refused_when_compiled(
    tmp_path: Path, old: str, new: str, what: str
) -> None:
    with pytest.raises(UsageError, match=what) as refused:
        compiled(tmp_path, TABLE.replace(old, new))
    assert "vertex.batch_prediction" in str(refused.value.where)
