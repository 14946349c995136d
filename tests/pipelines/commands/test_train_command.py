"""`headrace train` and `headrace tune` as a user meets them: killed, resumed, told to stop, within a budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import headrace

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM = NATALITY / "natality.py"


# Sends the training a signal once its first checkpoint is whole, from the thread that wrote it.
INTERRUPTED = """
import os, sys
from headrace.components.train.loop.checkpoints import Checkpoints
from headrace.pipelines.cli import main

number, write = int(sys.argv.pop(1)), Checkpoints._write

def write_and_end(self, *arguments):
    Checkpoints._write = write
    seconds = write(self, *arguments)
    os.kill(os.getpid(), number)
    return seconds

Checkpoints._write = write_and_end
main()
"""


def lines(done: subprocess.CompletedProcess[str]) -> str:
    """What was printed, without the padding of columns."""
    return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "natality"
    done = headrace("preprocess", "--problem", PROBLEM, "--data", NATALITY / "births.csv", "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder


def train(examples: Path, output: Path, *more: str | Path, problem: Path = PROBLEM) -> list[str | Path]:
    return ["train", "--problem", problem, "--examples", examples, "--output", output, *more]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The births, where only what is asked for ends the training."""
    problem = tmp_path_factory.mktemp("patient") / "patient.py"
    problem.write_text(PROBLEM.read_text().replace("epochs=40", "epochs=40, patience=1_000_000"))
    return problem


def record(output: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((output / "training.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def model(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("model") / "model"
    done = headrace(*train(examples, output, "--epochs", "6"))
    assert done.returncode == 0, done.stderr
    assert "ended by epochs: all 6 done" in lines(done)
    assert "rows/s\nbound by" in lines(done)
    return output


# A checkpoint each five epochs and a half.
STEPS = ("--steps", "1000", "--checkpoint-steps", "200")


@pytest.fixture(scope="module")
def uninterrupted(examples: Path, patient: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted") / "model"
    assert headrace(*train(examples, output, *STEPS, problem=patient)).returncode == 0
    return output


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_ended_and_started_again_it_gives_the_very_same_model(
    examples: Path, patient: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    whole, output = uninterrupted, tmp_path / "ended"
    given = train(examples, output, *STEPS, problem=patient)
    command = [sys.executable, "-c", INTERRUPTED, str(int(number)), *map(str, given)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert not output.exists()
    if number == signal.SIGTERM:
        assert "SIGTERM ended the training" in ended.stderr
        assert "Traceback" not in ended.stderr
    again = headrace(*given)
    assert again.returncode == 0, again.stderr
    assert "resumes from the checkpoint of step" in again.stderr
    assert "resumed from a checkpoint at step" in lines(again)
    assert record(output)["history"] == record(whole)["history"]
    assert record(output)["model_version"] == record(whole)["model_version"]
    assert (output / "golden.json").read_bytes() == (whole / "golden.json").read_bytes()
    assert not (tmp_path / "ended.checkpoints").exists(), "the Model is published: nobody needs them"


def test_a_target_ends_it(examples: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    done = headrace(*train(examples, output, "--target", "root_mean_squared_error=1.2"))
    assert done.returncode == 0, done.stderr
    assert "ended by target: root_mean_squared_error" in lines(done)
    assert "Budget target root_mean_squared_error=1.2:" in lines(done)
    written = record(output)
    assert written["epochs"] < 40
    assert min(written["history"]["eval_root_mean_squared_error"]) <= 1.2


def test_money_ends_it(examples: Path, patient: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    # At this price, a few seconds.
    money = ("--max-cost", "0.01", "--price-per-hour", "12", "--steps", "100000000")
    done = headrace(*train(examples, output, *money, problem=patient))
    assert done.returncode == 0, done.stderr
    assert "ended by max_cost 0.01:" in lines(done)
    budget = record(output)["budget"]
    assert budget["cost"] == pytest.approx(budget["hours"] * 12, abs=1e-4)


def test_a_warm_start_goes_on_from_the_model(examples: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "warm"
    done = headrace(*train(examples, output, "--warm-start", model, "--epochs", "2"))
    assert done.returncode == 0, done.stderr
    assert f"Started from version {record(model)['model_version']}: 100.0% of the parameters" in lines(done)
    warm, cold = record(output), record(model)
    assert warm["model_version"] != cold["model_version"]
    assert warm["history"]["eval_loss"][0] < cold["history"]["eval_loss"][0]


def test_describe_trains_nothing(tmp_path: Path) -> None:
    done = headrace("train", "--problem", PROBLEM, "--describe-devices")
    assert (done.returncode, done.stderr) == (0, "")
    assert "OneDevice" in done.stdout
    assert "float32" in done.stdout
    refused = headrace("train", "--problem", PROBLEM, "--describe-devices", "--strategy", "tpu")
    assert refused.returncode == 2
    assert "TPU_NAME" in refused.stderr


def test_plan_measures_and_extrapolates(examples: Path, tmp_path: Path) -> None:
    done = headrace("train", "--problem", PROBLEM, "--examples", examples, "--plan", "--machine-type", "e2-standard-4")
    assert done.returncode == 0, done.stderr
    assert "Measured here" in done.stdout
    said = [line.split() for line in done.stdout.splitlines()]
    assert [words[-1] for words in said if words[:1] == ["e2-standard-4"]] == ["measured"]
    assert [words[-1] for words in said if words[:1] == ["a3-highgpu-1g"]] == ["extrapolated"]
    assert "No other machine was measured" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--max-hours", "0"], "max_hours is wrong. Expected a number greater than 0. Received: 0.0"),
        (["--max-cost", "5"], "a cost cannot be bounded without a price"),
        (["--price-per-hour", "2", "--machine-type", "e2-standard-4"], "exclude each other"),
        (["--max-cost", "5", "--machine-type", "enormous"], "the machine type is not in the price table"),
        (["--price-table", "prices.json"], "nothing reads the price table. Expected --machine-type TYPE with it"),
        (["--machine-type", "x", "--price-table", "."], "the price table cannot be read"),
        (["--target", "auc=0.9"], "the target is of another task. Expected for regression, one of root_mean"),
        (["--target", "loss"], "the target is wrong"),
        (["--learning-rate", "7"], "learning_rate is wrong. Expected in (0, 1]. Received: 7.0"),
        (["--checkpoint-minutes", "0"], "checkpoint minutes is wrong"),
        (["--warm-start", "nowhere"], "this folder holds no Model"),
    ],
)
def test_nonsense_is_refused_before_tensorflow_starts(
    examples: Path, tmp_path: Path, given: list[str], said: str
) -> None:
    # A module of that name that cannot be imported stands in front of the real one.
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    done = subprocess.run(
        [sys.executable, "-m", "headrace.pipelines.cli", *map(str, train(examples, tmp_path / "model", *given))],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_tune_prints_its_trials(examples: Path, tmp_path: Path) -> None:
    problem = tmp_path / "tuned.py"
    text = PROBLEM.read_text().replace("import Categorical,", "import Categorical, Range, Tuning,")
    problem.write_text(
        text.replace(
            "    training=", '    tuning=Tuning({"learning_rate": Range(0.001, 0.1, log=True)}),\n    training='
        ).replace("epochs=40", "epochs=2")
    )
    output = tmp_path / "model"
    done = headrace(
        "tune", "--problem", problem, "--examples", examples, "--output", output, "--trials", "2", "--parallel", "2"
    )
    assert done.returncode == 0, done.stderr
    said = lines(done)
    assert "trial eval loss epochs seconds state learning_rate" in said
    written = record(output)
    best = written["tuning"]["trial"]
    assert best in (0, 1)
    assert f"Best trial {best}: Training(learning_rate={written['learning_rate']!r})" in said
    assert f"Model version {written['model_version']}: {output}" in said
