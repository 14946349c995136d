"""A model of one's own: measured and served as Keras measures and predicts, or refused before it is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.config import TrainConfig
from headrace.components.train.input.examples import open_examples
from headrace.components.train.input.source import raw_rows
from headrace.components.train.trainer import train
from headrace.core.errors import DataError, ProblemError
from headrace.core.problem import Categorical, Numeric, Problem, Training
from headrace.core.problem.file import load_problem
from headrace.core.saved_model.loaded import SavedModel

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality" / "own_model.py"
HEAD = """
import keras
from headrace.core.problem import Numeric, Problem, Training

problem = Problem(name="small", key="id", label=Numeric("y"), features=[Numeric("x"), Numeric("z")],
    training=Training(epochs=1, batch_size=8))


def build_model(problem, statistics, hyperparameters):
    inputs = {name: keras.Input(shape=(), name=name) for name in ("x", "z")}
    values = keras.ops.stack([inputs["x"], inputs["z"]], axis=1)
"""


def test_the_example_is_measured_and_served_as_keras_does(
    make_examples: Callable[..., Path], train_in: Callable[..., Any], natality_rows: list[dict[str, Any]]
) -> None:
    file = load_problem(str(EXAMPLE))
    needed = [c.name for c in (*file.problem.columns, file.problem.label) if not c.optional]
    examples = make_examples(file.problem, [row for row in natality_rows if all(row[n] is not None for n in needed)])
    trained = train_in(file, examples)
    split = open_examples(str(examples), file.problem).eval
    rows = raw_rows(file.problem, split, split.rows)
    inputs = {name: tf.constant(values) for name, values in rows.items()}
    served = SavedModel(str(trained.folder / "saved_model"))(inputs)
    model = keras.models.load_model(trained.folder / "model.keras")
    features = {name: values for name, values in inputs.items() if name != "key"}
    np.testing.assert_allclose(served["probabilities"], model.predict(features, verbose=0), rtol=1e-5, atol=1e-6)
    classes = list(file.problem.label.vocabulary or ())
    by_key = {str(row["record_id"]): classes.index(row["plurality"]) for row in natality_rows}
    labels = np.array([by_key[key.decode()] for key in rows["key"]])
    loss, accuracy = model.evaluate(features, labels, verbose=0)
    best = trained.training["best_epoch"] - 1
    history = trained.training["history"]
    assert history["eval_loss"][best] == pytest.approx(loss, rel=1e-5)
    assert history["eval_accuracy"][best] == pytest.approx(accuracy, rel=1e-5)


LOG = """
    hidden = keras.layers.Dense(4, activation="relu")(keras.ops.log(values))
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))
"""
OF_THE_BATCH = """
    return keras.Model(inputs, keras.layers.Dense(1)(values - keras.ops.mean(values, axis=0, keepdims=True)))
"""
RANDOM = """
    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(1)

        def call(self, values):
            return keras.random.dropout(values, 0.5, seed=self.seed)

    return keras.Model(inputs, keras.layers.Dense(1)(Noise()(values)))
"""
NO_CONFIG = """
    class Mine(keras.Model):
        def __init__(self, function):
            super().__init__()
            self.last, self.function = keras.layers.Dense(1), function

        def call(self, features):
            return self.last(self.function.stack(features["x"], features["z"]))

    class Stacker:
        def stack(self, *columns):
            return keras.ops.stack(columns, axis=1)

    return Mine(Stacker())
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (LOG, "the model predicts NaN or infinity for "),
        (NO_CONFIG, "the model cannot be saved as model.keras"),
        (OF_THE_BATCH, "its answer to a row depends on the other rows of a batch"),
        (RANDOM, "gives other answers to the same rows each time"),
    ],
    ids=["NaN for negative numbers", "no get_config", "statistics of the batch", "dropout at all times"],
)
def test_what_cannot_be_exported_is_found_before_training(
    make_examples: Callable[..., Path], tmp_path: Path, body: str, said: str
) -> None:
    path = tmp_path / "problem.py"
    path.write_text(HEAD + body)
    file = load_problem(str(path))
    rows = [{"id": str(n), "x": n % 7 - 3.0, "z": n % 5 + 1.0, "y": float(n % 3)} for n in range(60)]
    examples = make_examples(file.problem, rows)
    told: list[str] = []
    with pytest.raises(ProblemError) as caught:
        config = TrainConfig(examples=str(examples), output=str(tmp_path / "m"), identity="0" * 16)
        train(file, config, lambda text, **_: told.append(text))
    assert said in caught.value.paragraph
    assert "problem.py" in caught.value.paragraph
    assert "training" not in told


@pytest.mark.parametrize(("count", "absent"), [(0, "nothing can be learned"), (60, "")])
def test_classes_without_rows(make_examples: Callable[..., Path], tmp_path: Path, count: int, absent: str) -> None:
    """Of two classes, one without a row; then of three."""
    label = Categorical("y", vocabulary=["no", "yes", "maybe"] if count else ["no", "yes"])
    training = Training(steps=1, batch_size=8, hidden_units=[4])
    problem = Problem(name="small", key="id", label=label, features=[Numeric("x")], training=training)
    path = tmp_path / "problem.py"
    path.write_text(
        "from headrace import *\n"
        f"problem = Problem(name='small', key='id', label={label!r}, features=[Numeric('x')], training={training!r})\n"
    )
    file = load_problem(str(path))
    rows = [{"id": str(n), "x": float(n % 7), "y": "yes" if n < count and n % 2 else "no"} for n in range(60)]
    config = TrainConfig(examples=str(make_examples(problem, rows)), output=str(tmp_path / "model"), identity="0" * 16)
    if absent:
        with pytest.raises(DataError, match=absent) as caught:
            train(file, config)
        assert '"yes": 0 rows' in caught.value.paragraph
        return
    train(file, config)
    notes = json.loads((tmp_path / "model" / "training.json").read_text())["notes"]
    assert notes[0] == 'warning: the class "maybe" has no row in the train split: the model cannot learn it'
    assert notes[1] == 'warning: the class "maybe" has no row in the eval split: the eval loss does not cover it'


def test_a_number_that_does_not_vary(make_examples: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "problem.py"
    path.write_text(
        "from headrace import *\n"
        "problem = Problem(name='small', key='id', label=Numeric('y'), features=[Numeric('x')],\n"
        "    training=Training(steps=1, batch_size=8, hidden_units=[4]))\n"
    )
    file = load_problem(str(path))
    examples = make_examples(file.problem, [{"id": str(n), "x": float(n % 7), "y": 3.5} for n in range(60)])
    train(file, TrainConfig(examples=str(examples), output=str(tmp_path / "model"), identity="0" * 16))
    notes = json.loads((tmp_path / "model" / "training.json").read_text())["notes"]
    assert notes == ['warning: the label "y" has one value in the train split: nothing can be learned']
