"""The search as a task of a compiled pipeline, run by the engine on this machine."""

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from headrace.components.preprocess.component import preprocess
from headrace.components.tune.component import tune
from headrace.core import storage
from headrace.core.errors import HeadraceError
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.steps import workspace
from headrace.pipelines.platforms import local

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
TUNING = 'tuning=Tuning({"learning_rate": Range(1e-3, 1e-1, log=True)}, trials=3),'


@dsl.pipeline(name="tuning")
def tuning(
    problem: str, tuning_digest: str, schema_digest: str, data: str, root: str, trials: int, training: dict
) -> None:
    platform = local.LocalPlatform()
    examples = platform.configure_task(
        preprocess(problem=problem, schema_digest=schema_digest, data=data, data_version="v1", root=root)
    )
    platform.configure_task(
        tune(
            problem=problem,
            tuning_digest=tuning_digest,
            root=root,
            examples=examples.outputs["examples"],
            trials=trials,
            parallel=2,
            training=training,
        )
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ProblemFile:
    path = tmp_path_factory.mktemp("problem") / "tuned.py"
    text = (NATALITY / "natality.py").read_text().replace("import Categorical,", "import Categorical, Range, Tuning,")
    path.write_text(text.replace("epochs=40", "epochs=2").replace("    training=", f"    {TUNING}\n    training="))
    return load_problem(str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root")
    compiler.Compiler().compile(tuning, str(path / "tuning.yaml"))
    return path


def run(folder: Path, file: ProblemFile, **given: Any) -> dict[str, Any]:
    """Runs the pipeline, and gives the last event of the search."""
    heard: list[dict[str, Any]] = []
    arguments = {
        "problem": file.path,
        "tuning_digest": file.tuning_digest,
        "schema_digest": file.problem.schema_digest,
        "data": str(NATALITY / "births.csv"),
        "root": str(folder),
        "trials": 2,
        "training": {},
        **given,
    }
    spec, logs = str(folder / "tuning.yaml"), str(folder / "logs")
    local.run(spec, arguments, root=str(folder), logs=logs, listener=heard.append)
    return [event for event in heard if event["step"] == "tune"][-1]


def test_the_best_trial_is_the_tasks_model(folder: Path, file: ProblemFile) -> None:
    record = run(folder, file)["record"]
    assert record["status"] == "succeeded"
    result = record["result"]
    assert result["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "unfinished": 0}
    training = storage.read_json(storage.join(record["outputs"]["model"], "training.json"))
    assert training["model_version"] == result["model_version"]
    assert training["tuning"]["parameters"] == result["best"] == {"learning_rate": training["learning_rate"]}
    assert result["eval_loss"] == min(training["history"]["eval_loss"])
    # What it knows is under root, where the next attempt finds it: one trial more is one trial's work.
    (journal,) = Path(workspace.searches_uri(str(folder))).glob("*/journal.log")
    before = journal.read_bytes()
    further = run(folder, file, trials=3)["record"]
    assert further["result"]["trials"]["complete"] + further["result"]["trials"]["pruned"] == 3
    assert journal.read_bytes().startswith(before)


def test_a_device_that_is_not_there_is_the_users_mistake(folder: Path, file: ProblemFile) -> None:
    event = run(folder, file, training={"strategy": "mirrored"})
    error = HeadraceError.from_json(event["record"]["error"])
    assert error.exit_status == 2
    assert "mirrored" in error.paragraph or "GPU" in error.paragraph
