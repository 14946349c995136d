"""The compiled static pipeline: the golden file, and field by field what matters in it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compiled_spec import compile_spec, tasks, without_release

from headrace.core.steps.identity import release

GOLDEN = Path(__file__).with_name("golden") / "static_training_local.yaml"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_spec("static", tmp_path_factory.mktemp("spec"))


def test_the_golden_file(compiled: dict[str, Any]) -> None:
    """On purpose changed? `headrace compile static --output tests/pipelines/golden/static_training_local.yaml`."""
    golden = yaml.safe_load(GOLDEN.read_text())
    assert without_release(compiled) == without_release(golden)


def test_steps_follow_each_other_and_the_gate_decides(compiled: dict[str, Any]) -> None:
    found = tasks(compiled)
    rows, blessed = (found[name] for name in sorted(found) if name.startswith("condition"))
    if "preprocess-Output" not in rows["triggerPolicy"]["condition"]:
        rows, blessed = blessed, rows
    assert rows["dependentTasks"] == ["preprocess"]
    assert "dependentTasks" not in found["train"]
    assert found["evaluate"]["dependentTasks"] == ["train"]
    assert found["deploy"]["dependentTasks"] == ["register"]
    for condition, output in ((rows, "preprocess-Output"), (blessed, "evaluate-Output")):
        policy = condition["triggerPolicy"]["condition"]
        assert output in policy
        assert policy.endswith("== true")


def test_the_baseline_and_the_dialect_reach_the_steps_that_depend_on_them(compiled: dict[str, Any]) -> None:
    given = compiled["root"]["inputDefinitions"]["parameters"]
    for name in ("baseline", "baseline_version", "csv"):
        assert given[name] == {"defaultValue": "", "isOptional": True, "parameterType": "STRING"}
        for step in ("preprocess", "summarize"):
            source = tasks(compiled)[step]["inputs"]["parameters"][name]["componentInputParameter"]
            assert source in (name, f"pipelinechannel--{name}")
            taken = compiled["components"][f"comp-{step}"]["inputDefinitions"]["parameters"][name]
            assert taken["defaultValue"] == ""
            assert taken["isOptional"] is True


def test_only_steps_without_effects_outside_are_cached(compiled: dict[str, Any]) -> None:
    cached = {name for name, task in tasks(compiled).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert {"preprocess", "train", "evaluate"} <= cached
    assert not cached & {"register", "deploy", "summarize"}


def test_the_summary_is_written_whatever_happens(compiled: dict[str, Any]) -> None:
    summarize = tasks(compiled)["summarize"]
    assert summarize["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert "taskFinalStatus" in summarize["inputs"]["parameters"]["final_status"]


def test_the_release_is_in_the_image_so_that_the_cache_sees_it(compiled: dict[str, Any]) -> None:
    images = {executor["container"]["image"] for executor in compiled["deploymentSpec"]["executors"].values()}
    assert images == {f"headrace-python:{release()}"}


def test_nothing_is_installed_when_a_step_starts(compiled: dict[str, Any]) -> None:
    for executor in compiled["deploymentSpec"]["executors"].values():
        assert not any("pip install" in part for part in executor["container"]["command"])
