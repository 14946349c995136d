"""The compiled batch scoring pipeline: the golden file, and field by field what matters in it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compiled_spec import compile_spec, tasks, without_release

from headrace.core.steps.identity import release

GOLDEN = Path(__file__).with_name("golden") / "batch_scoring_local.yaml"
SHARED = ("sink", "table", "partition_by", "approach", "csv", "root")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_spec("batch-scoring", tmp_path_factory.mktemp("spec"))


def test_the_golden_file(compiled: dict[str, Any]) -> None:
    """On purpose changed? `headrace compile batch-scoring --output tests/pipelines/golden/batch_scoring_local.yaml`."""
    golden = yaml.safe_load(GOLDEN.read_text())
    assert without_release(compiled) == without_release(golden)


def test_nothing_is_published_that_was_not_checked(compiled: dict[str, Any]) -> None:
    found = tasks(compiled)
    assert found["score"]["dependentTasks"] == ["champion"]
    assert found["check"]["dependentTasks"] == ["score"]
    assert sorted(found["publish"]["dependentTasks"]) == ["check", "score"]


def test_the_model_is_the_one_that_the_registry_says_now(compiled: dict[str, Any]) -> None:
    given = tasks(compiled)["score"]["inputs"]["parameters"]["model"]["taskOutputParameter"]
    assert given == {"outputParameterKey": "model", "producerTask": "champion"}


def test_scoring_is_cached_by_the_version_that_the_data_has_now(compiled: dict[str, Any]) -> None:
    given = tasks(compiled)["score"]["inputs"]["parameters"]["data_version"]["taskOutputParameter"]
    assert given == {"outputParameterKey": "data_version", "producerTask": "champion"}


def test_only_scoring_is_cached(compiled: dict[str, Any]) -> None:
    cached = {name for name, task in tasks(compiled).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached & {"champion", "score", "check", "publish", "notify"} == {"score"}


def test_the_exit_task_runs_whatever_happens_and_knows_what_scoring_knows(compiled: dict[str, Any]) -> None:
    notify = tasks(compiled)["notify"]
    assert notify["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert "taskFinalStatus" in notify["inputs"]["parameters"]["final_status"]
    for step in ("score", "notify"):
        for name in SHARED:
            source = tasks(compiled)[step]["inputs"]["parameters"][name]["componentInputParameter"]
            assert source in (name, f"pipelinechannel--{name}")


def test_vertex_is_told_of_the_job(compiled: dict[str, Any]) -> None:
    outputs = compiled["components"]["comp-score"]["outputDefinitions"]
    assert outputs["parameters"]["gcp_resources"] == {"parameterType": "STRING"}
    assert outputs["artifacts"]["predictions"]["artifactType"]["schemaTitle"] == "system.Dataset"


def test_what_a_run_may_leave_out(compiled: dict[str, Any]) -> None:
    given = compiled["root"]["inputDefinitions"]["parameters"]
    required = {name for name, of in given.items() if not of.get("isOptional")}
    assert required == {
        "problem", "data", "data_version", "root", "registry", "destination", "run_id", "started",
    }  # fmt: skip
    assert (given["sink"]["defaultValue"], given["approach"]["defaultValue"]) == ("parquet", "auto")
    assert (given["batch_rows"]["defaultValue"], given["max_divergence"]["defaultValue"]) == (0.0, 0.0)


def test_the_release_is_in_the_image_and_nothing_is_installed(compiled: dict[str, Any]) -> None:
    for executor in compiled["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] == f"headrace-python:{release()}"
        assert not any("pip install" in part for part in executor["container"]["command"])
