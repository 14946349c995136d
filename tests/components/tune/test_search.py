"""A search on real births: in processes, pruned, killed in the middle, and its best trial a Model."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import headrace

from headrace.components.train.request import TrainingRequest
from headrace.components.tune import search, trial
from headrace.components.tune.study import Study
from headrace.components.tune.workers import Worker
from headrace.core import storage
from headrace.core.artifacts.kinds import MODEL
from headrace.core.errors import DataError, HeadraceError, PlatformError, ProblemError, UsageError
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.problem.tuning import Range, Tuning
from headrace.core.steps import identity
from headrace.core.storage.output_check import check_output

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
SPACE = 'space={"learning_rate": Range(1e-3, 1e-1, log=True), "hidden_units": Choice([[8], [8, 4]])}'
TUNING = f"tuning=Tuning(trials=4, pruning_trials=2, warmup_epochs=0, {SPACE}),"


def tuned(text: str, tuning: str = TUNING) -> str:
    declared = text.replace("import Categorical,", "import Categorical, Choice, Range, Tuning,")
    return declared.replace("epochs=40", "epochs=2").replace(
        "    training=Training", f"    {tuning}\n    training=Training"
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ProblemFile:
    path = tmp_path_factory.mktemp("problem") / "tuned.py"
    path.write_text(tuned((NATALITY / "natality.py").read_text()))
    return load_problem(str(path))


@pytest.fixture(scope="module")
def examples(file: ProblemFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "natality"
    run("preprocess", "--problem", file.path, "--data", str(NATALITY / "births.csv"), "--output", str(folder))
    return folder


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = headrace(*arguments)
    assert done.returncode == 0, done.stderr
    return done


# Kills the search while it judges the first epoch of its second trial.
KILLED = """
import os, signal
from headrace.components.tune.study import Study
from headrace.pipelines.cli import main

judge = Study.judge

def judge_or_die(self, number, *arguments):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return judge(self, number, *arguments)

Study.judge = judge_or_die
main()
"""


def choices(result: search.TuneResult) -> list[tuple[str, dict[str, Any]]]:
    return [(tried.state, dict(tried.parameters)) for tried in result.trials]


@pytest.fixture(scope="module")
def alone(file: ProblemFile, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A search of one trial after another."""
    folder = tmp_path_factory.mktemp("alone")
    config = search.TuneConfig(str(examples), str(folder / "model"), str(folder / "search"))
    return folder, search.tune(file, config)


def test_the_best_trial_is_the_model(file: ProblemFile, alone: tuple[Path, Any]) -> None:
    folder, result = alone
    assert [tried.number for tried in result.trials] == [0, 1, 2, 3]
    complete = [tried for tried in result.trials if tried.state == "complete"]
    assert len(complete) >= 2
    assert result.best.eval_loss == min(tried.eval_loss for tried in complete)
    training = json.loads((folder / "model" / "training.json").read_text())
    assert training["tuning"]["trial"] == result.best.number
    assert training["tuning"]["parameters"] == result.best.parameters
    assert training["learning_rate"] == result.best.parameters["learning_rate"]
    assert len(training["tuning"]["trials"]) == 4
    assert min(training["history"]["eval_loss"]) == result.best.eval_loss
    problem = json.loads((folder / "model" / "problem.json").read_text())
    assert problem["training"]["hidden_units"] == result.best.parameters["hidden_units"]
    # It lists all files of the trial's Model, so that another search may replace it.
    check_output(str(folder / "model"), MODEL)
    (kept,) = (folder / "search").glob("*/trials/*")
    assert kept.name == f"{result.best.number:05d}"


def test_again_it_is_done_already_and_more_trials_go_further(
    file: ProblemFile, examples: Path, alone: tuple[Path, Any]
) -> None:
    folder, result = alone
    config = search.TuneConfig(str(examples), str(folder / "again"), str(folder / "search"))
    again = search.tune(file, config)
    assert again.trials == result.trials
    further = search.tune(file, dataclasses.replace(config, trials=5))
    assert further.trials[:4] == result.trials
    assert len(further.trials) == 5


def test_killed_in_the_middle_it_ends_as_if_nothing_had_been(
    file: ProblemFile, examples: Path, alone: tuple[Path, Any], tmp_path: Path
) -> None:
    output = tmp_path / "model"
    given = ("tune", "--problem", file.path, "--examples", str(examples), "--output", str(output))
    killed = subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (journal,) = (tmp_path / "model.search").glob("*/journal.log")
    with journal.open("a") as log:
        log.write('{"op_code": 5, "torn by the')
    done = run(*given)
    _, result = alone
    best = result.best
    assert f"trial {best.number}: " in done.stdout
    assert f"version {result.training.model_version}: {output}" in done.stdout
    training = json.loads((output / "training.json").read_text())
    found = [(tried["state"], tried["parameters"]) for tried in training["tuning"]["trials"]]
    assert found == choices(result)
    assert training["model_version"] == result.training.model_version
    assert min(training["history"]["eval_loss"]) == best.eval_loss


def test_in_a_bucket_it_is_killed_and_resumes_as_on_a_disk(
    file: ProblemFile, examples: Path, alone: tuple[Path, Any], s3_bucket: str
) -> None:
    output = f"s3://{s3_bucket}/model"
    given = ("tune", "--problem", file.path, "--examples", str(examples), "--output", output)
    killed = subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run(*given)
    training = storage.read_json(f"{output}/training.json")
    found = [(tried["state"], tried["parameters"]) for tried in training["tuning"]["trials"]]
    assert found == choices(alone[1])
    assert training["model_version"] == alone[1].training.model_version
    kept = {name.split("/")[2] for name in storage.files_below(f"{output}.search") if "/trials/" in name}
    assert kept == {f"{alone[1].best.number:05d}"}


def test_a_second_search_in_a_bucket_is_noticed(store: str) -> None:
    tuning = Tuning({"learning_rate": Range(1e-3, 1e-1)})
    first = Study(f"{store}/journal.log", "s", tuning)
    assert first.take(3) is not None
    second = Study(f"{store}/journal.log", "s", tuning)
    assert second.take(3) is not None
    with pytest.raises(PlatformError, match="another process runs this search"):
        first.take(3)
    assert [each.number for each in Study(f"{store}/journal.log", "s", tuning).tried()] == [0]


def test_two_at_a_time(file: ProblemFile, examples: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    def report(message: str, **_: Any) -> None:
        heard.append(message)

    config = search.TuneConfig(str(examples), str(tmp_path / "model"), str(tmp_path / "search"), trials=3, parallel=2)
    result = search.tune(file, config, report)
    assert [tried.number for tried in result.trials] == [0, 1, 2]
    first_end = next(place for place, text in enumerate(heard) if "eval loss" in text and "after" in text)
    begun = {text.split(":")[0] for text in heard[:first_end]}
    assert {"trial 0", "trial 1"} <= begun, "both ran before one of them ended"
    assert len(list((tmp_path / "search").glob("*/worker-1.log"))) == 1


def test_hours_that_do_not_do_for_one_trial(file: ProblemFile, examples: Path, tmp_path: Path) -> None:
    config = search.TuneConfig(str(examples), str(tmp_path / "model"), str(tmp_path / "search"), request=hours(1e-4))
    with pytest.raises(PlatformError) as caught:
        search.tune(file, config)
    assert "no trial was finished" in caught.value.paragraph
    # With more, the trial that was begun is the first to go on.
    assert search.tune(file, dataclasses.replace(config, request=hours(1.0), trials=1)).best.number == 0


def test_a_trial_that_fails_is_one_of_many(file: ProblemFile, examples: Path, tmp_path: Path) -> None:
    path = tmp_path / "failing.py"
    path.write_text(
        tuned(
            (NATALITY / "natality.py").read_text(),
            'hyperparameters={"fail": 0}, tuning=Tuning(trials=3, space={"hyperparameters.fail": Choice([0, 1])}),',
        )
        + "\ndef build_model(problem, statistics, hyperparameters):\n"
        "    import keras\n"
        "    if hyperparameters['fail']:\n"
        "        raise ValueError('told to fail')\n"
        "    weeks = keras.Input(shape=(), name='gestation_weeks', dtype='float32')\n"
        "    out = keras.layers.Dense(1)(keras.ops.expand_dims(weeks, 1))\n"
        "    return keras.Model({'gestation_weeks': weeks}, out)\n"
    )
    failing = load_problem(str(path))
    config = search.TuneConfig(str(examples), str(tmp_path / "model"), str(tmp_path / "search"), trials=6)
    result = search.tune(failing, config)
    failed = [tried for tried in result.trials if tried.state == "failed"]
    assert failed
    assert all(tried.parameters == {"hyperparameters.fail": 1} for tried in failed)
    assert failed[0].error is not None
    assert "told to fail" in HeadraceError.from_json(dict(failed[0].error)).paragraph
    assert result.best.parameters == {"hyperparameters.fail": 0}


@pytest.mark.parametrize(("status", "kind", "attempts"), [(2, ProblemError, 1), (-9, PlatformError, 2)])
def test_a_trial_whose_process_exits_with_2_is_not_tried_again(
    file: ProblemFile,
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    kind: type[HeadraceError],
    attempts: int,
) -> None:
    asked: list[str] = []

    class Dies(Worker):
        def run(self, request: Any, listen: Any) -> dict[str, Any]:
            asked.append(request["output"])
            return {"event": "died", "status": status}

    monkeypatch.setattr(search, "Worker", Dies)
    config = search.TuneConfig(str(examples), str(tmp_path / "model"), str(tmp_path / "search"), trials=2)
    for _ in range(2):
        with pytest.raises(kind, match="every trial failed"):
            search.tune(file, config)
    assert {asked.count(output) for output in asked} == {attempts}


def hours(number: float) -> TrainingRequest:
    return TrainingRequest.from_json({"max_hours": number})


def test_an_option_may_not_set_what_the_search_chooses(file: ProblemFile) -> None:
    with pytest.raises(UsageError, match="the search chooses learning_rate"):
        trial.tuning_of(file, TrainingRequest(overrides={"learning_rate": 0.1, "epochs": 3}))
    assert trial.tuning_of(file, TrainingRequest(overrides={"epochs": 3})) == file.problem.tuning


def test_what_nobody_reads_is_not_searched(file: ProblemFile, tmp_path: Path) -> None:
    natality = load_problem(str(NATALITY / "natality.py"))
    for unfit, said in (
        (natality, "the Problem has nothing to tune. Expected Problem(..., tuning=Tuning("),
        (dataclasses.replace(file, build_model=print), 'build_model does not receive "hidden_units"'),
    ):
        with pytest.raises(ProblemError) as caught:
            trial.tuning_of(unfit)
        assert said in caught.value.paragraph
    for wrong in ({"trials": 0}, {"parallel": 0}):
        with pytest.raises(UsageError):
            search.TuneConfig("e", "o", "f", **wrong)  # type: ignore[arg-type]


def test_the_next_choice_follows_from_the_seed_and_the_trials_before(file: ProblemFile, tmp_path: Path) -> None:
    tuning = file.problem.tuning
    assert tuning is not None

    def whole(path: Path) -> list[dict[str, Any]]:
        study = Study(str(path), "s", tuning)
        for number in range(6):
            taken = study.take(6)
            assert taken is not None
            assert taken[0] == number
            study.judge(number, 1, 1.0 / (number + 1))
            study.finish(number, "complete", eval_loss=1.0 / (number + 1))
        return [dict(tried.parameters) for tried in study.tried()]

    once = whole(tmp_path / "once.log")
    # Opened anew for each trial, and each time first left in the middle.
    for number in range(6):
        Study(str(tmp_path / "twice.log"), "s", tuning).take(6)
        study = Study(str(tmp_path / "twice.log"), "s", tuning)
        taken = study.take(6)
        assert taken == (number, once[number])
        study.judge(number, 1, 1.0 / (number + 1))
        study.finish(number, "complete", eval_loss=1.0 / (number + 1))
    assert study.take(6) is None


def test_an_epoch_that_is_passed_again_after_a_kill_is_judged_by_what_was_said_first(tmp_path: Path) -> None:
    tuning = Tuning({"dropout": Range(0.0, 0.5)}, warmup_epochs=0, pruning_trials=1)
    study = Study(str(tmp_path / "log"), "s", tuning)
    study.take(3)
    assert study.judge(0, 1, 1.0)
    study.finish(0, "complete", eval_loss=1.0)
    study.take(3)
    assert not study.judge(1, 1, 2.0)
    again = Study(str(tmp_path / "log"), "s", tuning)
    assert again.take(3) is not None
    assert not again.judge(1, 1, 2.0)
    again.finish(1, "pruned")
    assert [(tried.state, tried.eval_loss, tried.epochs) for tried in again.tried()] == [
        ("complete", 1.0, 1),
        ("pruned", 2.0, 1),
    ]


def test_a_step_that_does_not_divide_the_range_ends_before_it(tmp_path: Path) -> None:
    tuning = Tuning({"batch_size": Range(8, 33, step=8), "dropout": Range(0.0, 0.35, step=0.1)}, pruning_trials=20)
    study = Study(str(tmp_path / "log"), "s", tuning)
    seen = [dict(taken[1]) for _ in range(20) if (taken := study.take(20)) is not None]
    assert {parameters["batch_size"] for parameters in seen} == {8, 16, 24, 32}
    assert {round(parameters["dropout"], 6) for parameters in seen} == {0.0, 0.1, 0.2, 0.3}


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("[1, 2\n{}\n")
    with pytest.raises(DataError, match="the journal of the search is damaged"):
        Study(str(tmp_path / "log"), "s", Tuning({"dropout": Range(0.0, 0.5)}))


def test_a_process_that_dies_is_started_again(file: ProblemFile, examples: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "log", share_devices=False)
    asked = {
        "problem": file.path,
        "digest": file.training_digest,
        "parameters": {"learning_rate": 0.01, "hidden_units": [4]},
        "examples": str(examples),
        "output": str(tmp_path / "model"),
        "checkpoints": str(tmp_path / "checkpoints"),
        "training": {},
    }

    def kill(event: Any) -> None:
        worker._process.kill()  # type: ignore[union-attr]

    assert worker.run(asked, kill) == {"event": "died", "status": -9}
    done = worker.run(asked, lambda event: {"go_on": True} if event["event"] == "epoch" else None)
    worker.close()
    assert done["event"] == "done"
    assert done["record"]["learning_rate"] == 0.01
    # The same parameters given to `headrace train` would be the same version.
    assert done["record"]["model_version"] == identity.train_identity(
        file, identity.examples_identity_of(str(examples)), asked["parameters"]
    )
    assert storage.exists(str(tmp_path / "model" / "training.json"))
