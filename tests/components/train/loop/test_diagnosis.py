from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.loop import diagnosis
from headrace.components.train.options import Checkpointing, Options
from headrace.core.errors import ProblemError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.problem.file import load_problem

PROBLEM = Problem(
    name="trips",
    key="id",
    label=Numeric("minutes"),
    features=[Numeric("distance"), Numeric("hour", optional=True), Categorical("carrier")],
)
STATISTICS = {
    "distance": {"mean": 100.0, "standard_deviation": 20.0},
    "hour": {"mean": 12.0, "standard_deviation": 4.0},
    "minutes": {"mean": 50.0, "standard_deviation": 10.0},
}


def test_the_most_extreme_comes_first() -> None:
    raw = {"distance": tf.constant([100.0, 90.0, -np.inf]), "hour": tf.constant([12.0, np.nan, 16.0])}
    found = diagnosis.extremes(PROBLEM, STATISTICS, raw, tf.constant([50.0, 150.0, 49.0]))
    assert found == [
        diagnosis.Extreme("distance", 2, -np.inf, np.inf),
        diagnosis.Extreme("minutes", 1, 150.0, 10.0),
        diagnosis.Extreme("hour", 2, 16.0, 1.0),
    ]
    assert diagnosis.describe(found) == (
        "In the batch of that step, distance is -inf in row 2; "
        "minutes is 150 in row 1, 10 standard deviations from its mean"
    )


def test_normalized_numbers_are_said_in_their_own_units() -> None:
    joined = {"numeric": tf.constant([[0.0, 0.5], [-60.0, 0.0]]), "wide": tf.constant([[1], [2]])}
    found = diagnosis.extremes(PROBLEM, STATISTICS, joined, tf.constant([50.0, 50.0]))
    assert found[0] == diagnosis.Extreme("distance", 1, -1100.0, 60.0)


def test_an_ordinary_batch_is_called_one() -> None:
    raw = {"distance": tf.constant([100.0, 130.0]), "hour": tf.constant([12.0, np.nan])}
    found = diagnosis.extremes(PROBLEM, STATISTICS, raw, tf.constant([50.0, 50.0]))
    assert diagnosis.describe(found) == (
        "No value in the batch of that step is extreme. "
        "The most extreme: distance is 130 in row 1, 1.5 standard deviations from its mean"
    )


SOURCE = """
import keras
from headrace.core.problem import Numeric, Problem, Training

problem = Problem(
    name="broken",
    key="record_id",
    label=Numeric("weight_pounds"),
    features=[Numeric("mother_age"), Numeric("gestation_weeks")],
    training=Training(epochs=3, batch_size=32),
)

def build_model(problem, statistics, hyperparameters):
    inputs = {name: keras.Input(shape=(), name=name) for name in ("mother_age", "gestation_weeks")}
    columns = [(inputs[n] - statistics[n]["mean"]) / statistics[n]["standard_deviation"] for n in sorted(inputs)]
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(keras.ops.stack(columns, axis=1))
    return keras.Model(inputs, keras.layers.Dense(1, name="out")(hidden))
"""


def births() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    ages, weeks = rng.normal(28, 5, 1000), rng.normal(39, 2, 1000)
    return [
        {"record_id": str(i), "mother_age": ages[i], "gestation_weeks": weeks[i], "weight_pounds": weeks[i] / 5}
        for i in range(1000)
    ]


@pytest.mark.parametrize("kept", [True, False])
def test_a_training_names_the_features_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
    make_examples: Callable[..., Path],
    train_in: Callable[..., Any],
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A machine that is busy may be too slow for what a user waits for.
    monkeypatch.setattr(diagnosis, "_REPLAY_SECONDS", 3600.0)
    path = tmp_path / "broken.py"
    path.write_text(SOURCE)
    file = load_problem(str(path))
    rows = births()
    # Measured before it broke, as statistics of an earlier span are.
    examples = make_examples(file.problem, rows)
    broken = next(row for row in rows[200:] if zlib.crc32(row["record_id"].encode()) % 1000 < 800)
    broken["gestation_weeks"] = 3e38
    damaged = make_examples(file.problem, rows)
    (damaged / "statistics.json").write_text((examples / "statistics.json").read_text())

    options = Options(checkpointing=Checkpointing(str(tmp_path / "checkpoints") if kept else "", steps=5))
    with pytest.raises(ProblemError) as caught:
        train_in(file, damaged, options=options)
    error = caught.value
    assert error.exit_status == 2
    assert error.what == "the loss is not finite"
    assert "at learning rate 0.001. In the batch of that step, gestation_weeks is 3e+38 in row" in str(error.received)
    where = int(str(error.where).removeprefix("step "))
    if not kept:
        return
    assert "Not finite: the loss of row " in str(error.received)
    assert "the gradients of hidden/kernel" in str(error.received)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    last = max(int(entry.name.removeprefix("step-")) for entry in folder.glob("step-*"))
    assert where - 6 <= last < where
    for arrays in folder.glob("*/arrays.bin"):
        assert np.isfinite(np.frombuffer(arrays.read_bytes()[:52], np.float32)).all()
