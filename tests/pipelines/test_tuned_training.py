"""The compiled pipeline that searches: the golden file for Vertex AI, and what matters in it on each platform."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.compiled_spec import compile_spec, tasks

from headrace.components.train.request import TrainingRequest
from headrace.core.errors import ProblemError, UsageError
from headrace.pipelines.compiler import compile_to
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.local_run import plan_tuned
from headrace.pipelines.platforms.vertex_tuning import TuningOptions
from headrace.pipelines.submission import check_search

PLATFORMS = Path(__file__).parent / "platforms"
GOLDEN = Path(__file__).parent / "golden" / "tuned_training_vertex.yaml"
NATALITY = Path(__file__).parents[2] / "examples" / "natality"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_spec("tuned", tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vertex") / "tuned.yaml"
    compile_to("tuned", "vertex", str(path), options_file=str(PLATFORMS / "vertex.toml"))
    return path


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    text = (NATALITY / "natality.py").read_text().replace("import Categorical,", "import Categorical, Range, Tuning,")
    space = 'tuning=Tuning({"learning_rate": Range(1e-3, 1e-1, log=True)}, trials=4),'
    path = tmp_path / "tuned.py"
    path.write_text(text.replace("    training=", f"    {space}\n    training="))
    return path


def test_the_golden_file(vertex: Path) -> None:
    """On purpose changed? `headrace compile tuned --platform vertex --options .../vertex.toml --output GOLDEN`."""
    compiled, golden = yaml.safe_load(vertex.read_text()), yaml.safe_load(GOLDEN.read_text())
    for spec in (compiled, golden):
        spec.pop("sdkVersion", None)
    assert compiled == golden
    assert lint(str(vertex), "vertex") == []


def test_on_vertex_ai_a_job_stands_between_two_light_tasks(vertex: Path) -> None:
    spec = read_spec(str(vertex))
    found = {task.where.rpartition(".")[2]: task for task in spec.tasks()}
    images = {name: container["image"].partition("@")[0] for name, container in spec.containers()}
    assert images["exec-study"] == images["exec-best"] == images["exec-register"]
    assert images["exec-tune"] == "gcr.io/ml-pipeline/google-cloud-pipeline-components"
    # The condition on rows holds them all.
    assert found["study"].where == "exit-handler-1.condition-2.study"
    # The task after the job runs whatever came of it, and alone makes the model that is evaluated.
    assert found["best"].spec["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert found["evaluate"].spec["dependentTasks"] == ["best"]
    # A search that failed begins anew when it is tried again: its retries are not those of training.
    retries = {name: found[name].spec["retryPolicy"]["maxRetryCount"] for name in ("tune", "best")}
    assert retries == {"tune": 1, "best": 2}


def test_elsewhere_the_search_is_one_task(local: dict[str, Any], tmp_path: Path) -> None:
    assert "dependentTasks" not in tasks(local)["tune"]
    assert tasks(local)["evaluate"]["dependentTasks"] == ["tune"]
    path = tmp_path / "tuned.yaml"
    compile_to("tuned", "kubeflow", str(path), options_file=str(PLATFORMS / "kubeflow.toml"))
    assert lint(str(path), "kubeflow") == []
    spec = read_spec(str(path))
    (task,) = (task for task in spec.tasks() if task.where.endswith(".tune"))
    assert "trainer" in spec.executor_of(task)["image"]
    assert "tune.component" not in "".join(spec.executor_of(task)["command"])


def test_every_platform_takes_the_same_parameters(local: dict[str, Any], vertex: Path) -> None:
    compiled = yaml.safe_load(vertex.read_text())
    assert local["root"]["inputDefinitions"] == compiled["root"]["inputDefinitions"]


def test_a_run_gives_the_pipeline_its_parameters(local: dict[str, Any], problem: Path, tmp_path: Path) -> None:
    data, root = str(NATALITY / "births.csv"), str(tmp_path / "out")
    mirrored = TrainingRequest.from_json({"strategy": "mirrored", "epochs": 3})
    plan = plan_tuned(str(problem), data, root, "", "", (), mirrored, 3, 2)
    assert {*plan.arguments, "started", "cache"} == set(local["root"]["inputDefinitions"]["parameters"])
    given = {name: plan.arguments[name] for name in ("trials", "parallel", "training", "run_id")}
    assert given == {
        "trials": 3,
        "parallel": 2,
        "training": {"strategy": "mirrored", "epochs": 3},
        "run_id": plan.run_id,
    }
    # How many at a time does not name another run; how many in all does.
    again = plan_tuned(str(problem), data, root, "", "", (), mirrored, 3, 1)
    more = plan_tuned(str(problem), data, root, "", "", (), mirrored, 4, 1)
    assert plan.run_id == again.run_id != more.run_id


def test_a_problem_with_nothing_to_search_is_refused_before_any_work(tmp_path: Path) -> None:
    from headrace.pipelines.cli import cli

    given = ["--problem", str(NATALITY / "natality.py"), "--data", str(NATALITY / "births.csv")]
    done = CliRunner().invoke(cli, ["run", "tuned", *given, "--root", str(tmp_path / "out")])
    assert isinstance(done.exception, ProblemError)
    assert "the Problem has nothing to tune" in done.exception.paragraph
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("values", "platform", "said"),
    [
        ({}, "vertex", ""),
        ({"trials": 2, "parallel": 2}, "vertex", ""),
        ({"parallel": 5}, "vertex", ""),
        ({"parallel": 0}, "vertex", "0 of 4 at a time"),
        ({"parallel": 5}, "kubeflow", ""),
        ({"training": {"max_hours": 2.0}}, "vertex", "does not support a budget of hours or money"),
        ({"training": {"learning_rate": 0.1}}, "kubeflow", "the search chooses learning_rate"),
    ],
)
def test_a_search_is_looked_at_before_it_is_submitted(
    vertex: Path, problem: Path, values: dict[str, Any], platform: str, said: str
) -> None:
    spec = read_spec(str(vertex))
    if not said:
        check_search.check(spec, str(problem), values, platform)
        return
    with pytest.raises(UsageError) as refused:
        check_search.check(spec, str(problem), values, platform)
    assert said in refused.value.paragraph


def test_a_grid_of_what_has_no_steps_is_refused_before_it_is_submitted(problem: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(
        (PLATFORMS / "vertex.toml").read_text() + '\n[vertex.tuning]\nalgorithm = "grid"\nstopping = "none"\n'
    )
    compile_to("tuned", "vertex", str(tmp_path / "grid.yaml"), options_file=str(tmp_path / "grid.toml"))
    spec = read_spec(str(tmp_path / "grid.yaml"))
    (job,) = (task for task in spec.tasks() if task.where.endswith(".tune"))
    assert "stopping_spec" not in spec.executor_of(job)["args"][3]
    with pytest.raises(ProblemError) as refused:
        check_search.check(spec, str(problem), {}, "vertex")
    assert "A grid search accepts only INTEGER, CATEGORICAL and DISCRETE" in refused.value.paragraph
    with pytest.raises(ProblemError, match="nothing to tune"):
        check_search.check(spec, str(NATALITY / "natality.py"), {}, "vertex")


@pytest.mark.parametrize(
    ("name", "value"),
    [("algorithm", "annealing"), ("stopping", "hyperband"), ("max_failed_trials", -1), ("retries", 11)],
)
def test_options_of_a_search_check_themselves(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is not valid"):
        TuningOptions(**{name: value})
    assert name in inspect.signature(TuningOptions).parameters


def test_what_came_of_a_search_is_shown() -> None:
    from headrace.pipelines.console import headline
    from headrace.pipelines.report.artifacts import Artifacts
    from headrace.pipelines.report.run_view import pipeline_picture

    result = {"trial": 7, "eval_loss": 0.91234, "trials": {"complete": 3, "pruned": 2, "failed": 0, "unfinished": 0}}
    record = {"step": "tune", "status": "succeeded", "seconds": 60.0, "result": result}
    assert headline(record) == "3 complete, 2 pruned trials, the best is 7, eval loss 0.9123"
    assert "5 trials, best 7" in pipeline_picture(Artifacts(steps={"tune": record}))
