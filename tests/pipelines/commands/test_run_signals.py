"""SIGTERM to `headrace run`, before its steps and during one: it saves, ends with 75, and the same command continues.

The signal is sent by the code of the Problem file, at one place of the work and not at a time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from support import lines
from support.command import headrace

from headrace.core import storage

PROBLEM = """
import os
import signal
import threading
from pathlib import Path

from headrace import Choice, Gate, Numeric, Problem, Training, Tuning

FOLDER = Path(FOLDER_PATH)


def terminate(process, place):
    \"\"\"Ends a process if the file of this place exists, once, and waits until the signal has arrived here.\"\"\"
    if not (FOLDER / place).exists():
        return
    (FOLDER / place).unlink()
    arrived, before = threading.Event(), signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        os.kill(process, signal.SIGTERM)
        # The handler of the main thread ignores a second signal.
        while signal.getsignal(signal.SIGTERM) is before and not arrived.wait(0.01):
            pass
        return

    def receive(number, frame):
        arrived.set()
        signal.signal(signal.SIGTERM, before)
        before(number, frame)

    signal.signal(signal.SIGTERM, receive)
    os.kill(process, signal.SIGTERM)
    arrived.wait(600)


def callbacks(problem, hyperparameters):
    import keras

    class Terminate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            terminate(int(os.environ["HEADRACE_ENGINE_PID"]), "training")

    return [Terminate()]


def prepare(batch):
    if "HEADRACE_ENGINE_PID" in os.environ:
        terminate(int(os.environ["HEADRACE_ENGINE_PID"]), "preparing")
    return batch


problem = Problem(
    name="lines",
    key="id",
    reads=["x"],
    label=Numeric("y"),
    features=[Numeric("x")],
    gate=Gate(metric="root_mean_squared_error", at_most=100.0),
    training=Training(epochs=3, batch_size=64, hidden_units=[4], seed=1),
    tuning=Tuning({"learning_rate": Choice([0.01, 0.02])}, trials=2),
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "rows.csv").write_text(lines.rows())
    (tmp_path / "lines.py").write_text(PROBLEM.replace("FOLDER_PATH", repr(str(tmp_path))))
    yield tmp_path
    headrace("endpoint", "stop", tmp_path / "root" / "endpoints" / "lines")


def command(folder: Path, pipeline: str) -> tuple[str, ...]:
    inputs = ("--problem", str(folder / "lines.py"), "--data", str(folder / "rows.csv"))
    return ("run", pipeline, *(inputs if pipeline != "dynamic" else ()), "--root", str(folder / "root"))


def add_data(folder: Path) -> None:
    set_up = headrace("dynamic", "init", "--problem", folder / "lines.py", "--root", folder / "root")
    assert set_up.returncode == 0, set_up.stderr
    span = ("--span", "2026-11-20", "--data", folder / "rows.csv")
    added = headrace("dynamic", "add", folder / "root", *span)
    assert added.returncode == 0, added.stderr


def run(folder: Path, pipeline: str) -> CompletedProcess[str]:
    return headrace(*command(folder, pipeline))


def check_ended(ended: CompletedProcess[str], said: str) -> None:
    assert ended.returncode == 75, ended.stdout + ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def steps(folder: Path, pipeline: str = "lines") -> dict[str, Any]:
    """The steps of the only run whose name begins so, by name."""
    (path,) = (folder / "root" / "runs").glob(f"{pipeline}-*/summary.json")
    return {step["step"]: step for step in storage.read_json(str(path))["steps"]}


@pytest.mark.parametrize("pipeline", ["static", "tuned", "batch-scoring"])
def test_a_signal_before_the_first_step(folder: Path, pipeline: str) -> None:
    """While the command loads the Problem file, in a process of its own, which the signal would end."""
    with (folder / "lines.py").open("a") as file:
        file.write('\nterminate(os.getpid(), "loading")\n')
    (folder / "loading").touch()
    words = [sys.executable, "-m", "headrace.pipelines.cli", *command(folder, pipeline)]
    check_ended(
        subprocess.run(words, capture_output=True, text=True, check=False), "the run was terminated. Received: SIGTERM."
    )
    assert not list((folder / "root").glob("runs/*/summary.json"))


def test_a_signal_while_a_model_is_trained_and_while_rows_are_scored(folder: Path) -> None:
    (folder / "training").touch()
    check_ended(run(folder, "static"), "SIGTERM ended the training")
    assert steps(folder)["train"]["status"] == "failed"
    again = run(folder, "static")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumes from the checkpoint of step" in again.stdout + again.stderr
    (folder / "preparing").touch()
    check_ended(run(folder, "batch-scoring"), "the run was terminated. Received: SIGTERM.")
    assert steps(folder, "lines-scoring")["score"]["status"] == "failed"
    again = run(folder, "batch-scoring")
    assert again.returncode == 0, again.stdout + again.stderr
    assert steps(folder, "lines-scoring")["score"]["result"]["rows_out"] == 200


def test_a_signal_while_a_trial_is_trained(folder: Path) -> None:
    (folder / "training").touch()
    check_ended(run(folder, "tuned"), "SIGTERM ended the training")
    assert steps(folder)["tune"]["status"] == "failed"
    again = run(folder, "tuned")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumes from the checkpoint of step" in again.stdout + again.stderr


def test_a_signal_while_a_run_of_dynamic_training_is_trained(folder: Path) -> None:
    add_data(folder)
    (folder / "training").touch()
    check_ended(run(folder, "dynamic"), "SIGTERM ended the training")
    assert steps(folder)["train"]["status"] == "failed"
    # Tried again later, from the checkpoint.
    waiting = headrace("dynamic", "status", folder / "root")
    assert "SIGTERM ended the training" in waiting.stdout
