"""A trial of a hyperparameter tuning job: real training by the command that the job runs, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.components.tune import trial as trials
from headrace.components.tune.trial import with_parameters
from headrace.components.tune.vertex.trial import main
from headrace.core import storage
from headrace.core.errors import HeadraceError, PlatformError, ProblemError
from headrace.core.problem.file import ProblemFile, load_problem

NATALITY = Path(__file__).parents[3] / "examples" / "natality" / "natality.py"
SPACE = 'space={"learning_rate": Range(1e-3, 1.0, log=True), "hidden_units": Choice([[8], [8, 4]])}'


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ProblemFile:
    path = tmp_path_factory.mktemp("problem") / "tuned.py"
    text = NATALITY.read_text().replace("import Categorical,", "import Categorical, Choice, Range, Tuning,")
    tuning = f"tuning=Tuning(warmup_epochs=1, {SPACE}),"
    path.write_text(text.replace("epochs=40", "epochs=3").replace("    training=", f"    {tuning}\n    training="))
    return load_problem(str(path))


@pytest.fixture
def run(file: ProblemFile, natality_examples: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a trial with flags, and gives what it says of itself."""

    def trial(*flags: str, number: int = 7, job: str = "") -> dict[str, Any]:
        place = f"/gcs/bucket/headrace/123456789012/{job}/tune_-51/executor_output.json"
        told = {
            **({"outputs": {"outputFile": place}} if job else {}),
            "inputs": {
                "parameterValues": {"problem": file.path, "tuning_digest": file.tuning_digest, "root": str(tmp_path)},
                "artifacts": {"examples": {"artifacts": [{"uri": str(natality_examples)}]}},
            },
        }
        environment = {
            "CLOUD_ML_TRIAL_ID": str(number),
            "CLOUD_ML_HP_METRIC_FILE": str(tmp_path / "output.metrics"),
            "AIP_MODEL_DIR": f"{tmp_path}/search/{number}/model/",
            "AIP_CHECKPOINT_DIR": f"{tmp_path}/search/{number}/checkpoints/",
        }
        main(["--executor_input", json.dumps(told), *flags], environment)
        record: dict[str, Any] = storage.read_json(str(tmp_path / "search" / str(number) / "trial.json"))
        return record

    return trial


def test_it_trains_reports_and_leaves_its_model(
    run: Callable[..., dict[str, Any]], file: ProblemFile, tmp_path: Path
) -> None:
    record = run("--learning_rate=0.01", "--hidden_units=[8, 4]")
    training = storage.read_json(str(tmp_path / "search" / "7" / "model" / "training.json"))
    losses = training["history"]["eval_loss"]
    assert len(losses) == 3
    reported = [json.loads(line) for line in (tmp_path / "output.metrics").read_text().splitlines()]
    # The first epoch is never judged, so it is not told; the last word is of the Model that is exported.
    assert [(int(one["global_step"]), float(one["eval_loss"]), one["trial"]) for one in reported] == [
        (2, losses[1], "7"),
        (3, losses[2], "7"),
        (4, min(losses), "7"),
    ]
    assert {**record, "seconds": 0} == {
        "number": 7,
        "state": "complete",
        "parameters": {"learning_rate": 0.01, "hidden_units": [8, 4]},
        "eval_loss": min(losses),
        "epochs": 3,
        "seconds": 0,
        "error": None,
        "model_version": training["model_version"],
    }
    # The same parameters are the same Model, whoever chose them.
    assert training["learning_rate"] == 0.01
    assert with_parameters(file, record["parameters"]).problem.training.hidden_units == (8, 4)
    assert not list((tmp_path / "search" / "7").glob("checkpoints/*/*"))
    assert not (tmp_path / "records").exists()


def test_a_trial_that_fails_says_why(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ProblemError("the loss is not finite", where="step 7")

    monkeypatch.setattr(trials, "run", fails)
    with pytest.raises(SystemExit) as ended:
        run("--learning_rate=0.01", "--hidden_units=[8]")
    assert ended.value.code == 2
    record = storage.read_json(str(tmp_path / "search" / "7" / "trial.json"))
    assert (record["state"], record["error"]["what"], record["eval_loss"]) == ("failed", "the loss is not finite", None)


def test_a_value_that_is_not_searched_is_refused_before_any_work(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--learning_rate=0.01", "--hidden_units=[16]")
    assert ended.value.code == 2
    assert not (tmp_path / "search").exists()


class Trainings:
    """In place of training: what each trial ends with, and the parameters that were tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: HeadraceError = ProblemError("the loss is not finite", where="step 7")
        self.tried: list[float] = []

        def fails(_: object, config: trials.TrialConfig, *__: object) -> None:
            self.tried.append(config.parameters["learning_rate"])
            raise self.error

        monkeypatch.setattr(trials, "run", fails)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return Trainings(monkeypatch)


def attempt(run: Callable[..., dict[str, Any]], number: int, rate: float, job: str) -> object:
    """Exit status of a trial."""
    with pytest.raises(SystemExit) as ended:
        run(f"--learning_rate={rate}", "--hidden_units=[8]", number=number, job=job)
    return ended.value.code


def test_a_search_that_is_tried_again_after_a_mistake_trains_nothing(
    run: Callable[..., dict[str, Any]], tmp_path: Path, trainings: Trainings
) -> None:
    assert [attempt(run, number, 0.01 * number, "natality-1") for number in (1, 2)] == [2, 2]
    assert trainings.tried == [0.01, 0.02]
    # The new tuning job of the same pipeline job, with other parameters, and of its next retry.
    for rate in (0.5, 0.6):
        assert [attempt(run, number, rate, "natality-1") for number in (1, 2)] == [2, 2]
        record = storage.read_json(str(tmp_path / "search" / "2" / "trial.json"))
        # `best` finds the reason at the trial that the service reports.
        assert (record["parameters"]["learning_rate"], record["error"]) == (rate, trainings.error.to_json())
    assert trainings.tried == [0.01, 0.02]
    # A trial that the job before had not begun.
    assert attempt(run, 3, 0.7, "natality-1") == 2
    # A new submission, and a platform that does not name its job.
    assert [attempt(run, 1, 0.8, "natality-2"), attempt(run, 1, 0.9, "")] == [2, 2]
    assert trainings.tried == [0.01, 0.02, 0.7, 0.8, 0.9]


def test_a_search_that_is_tried_again_after_the_platform_failed_trains_again(
    run: Callable[..., dict[str, Any]], trainings: Trainings
) -> None:
    trainings.error = PlatformError("the machine was lost")
    assert [attempt(run, 1, rate, "natality-1") for rate in (0.01, 0.02)] == [75, 75]
    assert trainings.tried == [0.01, 0.02]


def test_a_search_of_which_a_trial_was_complete_tries_all_again(
    run: Callable[..., dict[str, Any]], tmp_path: Path, trainings: Trainings
) -> None:
    assert attempt(run, 1, 0.01, "natality-1") == 2
    record = storage.read_json(str(tmp_path / "search" / "1" / "trial.json"))
    storage.write_json(str(tmp_path / "search" / "2" / "trial.json"), {**record, "state": "complete", "error": None})
    assert attempt(run, 1, 0.02, "natality-1") == 2
    assert trainings.tried == [0.01, 0.02]
