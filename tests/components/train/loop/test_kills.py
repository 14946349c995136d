from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from headrace.core.problem.file import load_problem

KILLS = 20
# With dropout the weights follow from the random numbers too. Patience never ends it; the best epoch is not the last.
PROBLEM = """
import keras
from headrace.core.problem import Numeric, Problem, Training

problem = Problem(
    name="killed",
    key="record_id",
    label=Numeric("weight_pounds"),
    features=[Numeric("mother_age"), Numeric("gestation_weeks")],
    training=Training(epochs=120, patience=120, learning_rate=0.02),
)

def build_model(problem, statistics, hyperparameters):
    inputs = {name: keras.Input(shape=(), name=name) for name in ("mother_age", "gestation_weeks")}
    columns = [(inputs[n] - statistics[n]["mean"]) / statistics[n]["standard_deviation"] for n in sorted(inputs)]
    hidden = keras.layers.Dense(8, activation="relu")(keras.ops.stack(columns, axis=1))
    hidden = keras.layers.Dropout(0.3)(hidden)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))
"""


def weights(model: Path) -> list[Any]:
    found: list[Any] = keras.models.load_model(model / "model.keras").get_weights()
    return found


def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path, make_examples: Callable[..., Path]) -> None:
    problem = tmp_path / "killed.py"
    problem.write_text(PROBLEM)
    examples = make_examples(load_problem(str(problem)).problem)
    script = Path(__file__).with_name("kill_trainings.py")
    command = [sys.executable, str(script), str(problem), str(examples), str(tmp_path), str(KILLS), "4"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    outcome = json.loads(finished.stdout.splitlines()[-1])
    assert outcome == {"signals": [-signal.SIGKILL] * KILLS, "peaceful": 0, "last": 0}, finished.stderr

    peaceful, killed = tmp_path / "peaceful", tmp_path / "killed"
    told = {model: json.loads((model / "training.json").read_text()) for model in (peaceful, killed)}
    assert told[killed]["history"] == told[peaceful]["history"]
    assert told[killed]["best_epoch"] == told[peaceful]["best_epoch"] < 120
    resumed = told[killed]["checkpoints"]["resumed_at_steps"]
    assert len(resumed) >= 5
    assert all(step % 10 == 0 for step in resumed)
    for ours, theirs in zip(weights(killed), weights(peaceful), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Nothing is left of the way there.
    assert not (tmp_path / "checkpoints").exists()
    assert not list(tmp_path.glob(".*"))
