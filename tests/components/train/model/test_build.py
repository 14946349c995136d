from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.model import build as models
from headrace.components.train.model.objective import objective_of
from headrace.core.errors import ProblemError
from headrace.core.problem.file import ProblemFile, load_problem

HEAD = """
import keras
from headrace.core.problem import Categorical, Numeric, Problem

problem = Problem(
    name="users",
    key="id",
    label={label},
    features=[Numeric("x"), Numeric("z", optional=True), Categorical("color", optional=True)],
    hyperparameters={{"width": 7}},
)

def build_model(problem, statistics, hyperparameters):
"""
LABELS = {
    "regression": 'Numeric("y")',
    "binary": 'Categorical("y", vocabulary=["no", "yes"])',
    "multiclass": 'Categorical("y", vocabulary=["a", "b", "c"])',
}
STATISTICS = {
    "x": {"mean": 1.0, "standard_deviation": 2.0},
    "z": {"mean": 1.0, "standard_deviation": 2.0},
    "color": {"missing": 0, "distinct": 1, "vocabulary": [["red", 3]]},
    "y": {"mean": 1.0, "standard_deviation": 2.0, "vocabulary": [["a", 1], ["yes", 2]]},
}
SAMPLE = {"x": tf.constant([1.0, 2.0]), "z": tf.constant([1.0, 2.0]), "color": tf.constant(["red", "blue"])}
GOOD = """
    x = keras.Input(shape=(), name="x")
    color = keras.Input(shape=(), name="color", dtype="string")
    values = [word for word, count in statistics["color"]["vocabulary"]]
    one_hot = keras.layers.StringLookup(vocabulary=values, output_mode="one_hot")(keras.ops.expand_dims(color, 1))
    joined = keras.layers.Concatenate()([keras.ops.expand_dims(x, 1), one_hot])
    hidden = keras.layers.Dense(hyperparameters["width"], activation="relu")(joined)
    return keras.Model({inputs}, keras.layers.Dense(1)(hidden))
"""


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., models.TrainedModel]:
    def make(body: str, task: str = "regression") -> models.TrainedModel:
        path = tmp_path / "users.py"
        path.write_text(HEAD.format(label=LABELS[task]) + body)
        file: ProblemFile = load_problem(str(path))
        objective = objective_of(file.problem, STATISTICS)
        return models.build(file, STATISTICS, objective, file.problem.training, SAMPLE)

    return make


@pytest.mark.parametrize("inputs", ['{"x": x, "color": color}', "[x, color]"])
def test_a_functional_model_takes_the_features_it_names(build: Callable[..., models.TrainedModel], inputs: str) -> None:
    model = build(GOOD.replace("{inputs}", inputs))
    assert model.inputs == ("x", "color")
    assert model.outputs(SAMPLE).shape == (2, 1)
    assert model.parameters == 3 * 7 + 7 + 7 + 1
    np.testing.assert_array_equal(model.core(model.prepare(dict(SAMPLE))), model.outputs(SAMPLE))


def test_a_subclassed_model_gets_every_feature(build: Callable[..., models.TrainedModel]) -> None:
    model = build(
        """
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, features):
            assert sorted(features) == ["color", "x", "z"]
            return self.dense(keras.ops.expand_dims(features["x"], 1))

    return Mine()
""",
        "multiclass",
    )
    assert model.inputs == ("x", "z", "color")
    assert model.outputs(SAMPLE).shape == (2, 3)


def test_random_numbers_are_seeded_and_given_back(build: Callable[..., models.TrainedModel]) -> None:
    body = GOOD.replace("{inputs}", "[x, color]")
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    first = build(body)
    assert (random.random(), np.random.random()) == expected
    for a, b in zip(first.core.weights, build(body).core.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


RETURN = "return keras.Model({inputs}, {outputs})"
X = '    x = keras.Input(shape=(), name="x")\n'
COLUMN = "keras.ops.expand_dims(x, 1)"


@pytest.mark.parametrize(
    ("body", "task", "said"),
    [
        ("    pass", "regression", "did not return a model. Expected a keras.Model. Received: nothing"),
        ("    return 'model'", "regression", "Received: type str"),
        ("    return keras.Model", "regression", "Received: type type"),
        (
            "    width = hyperparameters['size']",
            "regression",
            "users.py, line 14 (width = hyperparameters['size']): build_model failed. Received: KeyError: 'size'",
        ),
        (
            (
                '    x = keras.Input(shape=(), name="height")\n'
                f"    return keras.Model([x], keras.layers.Dense(1)({COLUMN}))"
            ),
            "regression",
            'has an input "height", which is not a feature. Expected one of x, z, color. Received: "height"',
        ),
        (
            '    x = keras.Input(shape=(3,), name="x")\n    return keras.Model([x], keras.layers.Dense(1)(x))',
            "regression",
            'Expected keras.Input(shape=(), name="x", dtype="float32"). Received: shape=(3,), dtype="float32"',
        ),
        (
            (
                '    x = keras.Input(shape=(), name="x", dtype="int32")\n'
                f'    return keras.Model([x], keras.layers.Dense(1)(keras.ops.cast({COLUMN}, "float32")))'
            ),
            "regression",
            'Received: shape=(), dtype="int32"',
        ),
        (
            f"{X}    return keras.Model([x], keras.layers.Dense(2)({COLUMN}))",
            "regression",
            "Expected shape [None, 1], float32: the value. Received: shape [None, 2], float32",
        ),
        (
            f"{X}    return keras.Model([x], keras.layers.Dense(2)({COLUMN}))",
            "binary",
            'Expected shape [None, 1], float32: the logit or the probability of "yes"',
        ),
        (
            f"{X}    return keras.Model([x], keras.layers.Dense(1)({COLUMN}))",
            "multiclass",
            "Expected shape [None, 3], float32: one logit or probability per class",
        ),
        (
            f"{X}    y = keras.layers.Dense(1)({COLUMN})\n    return keras.Model([x], [y, y])",
            "regression",
            "Received: type list",
        ),
        (f"{X}    return keras.Model([x], {COLUMN})", "regression", "no trainable weights"),
        (
            (
                "    class Own(keras.Model):\n        def train_step(self, data):\n            return {}\n"
                f"{X}    return Own([x], keras.layers.Dense(1)({COLUMN}))"
            ),
            "regression",
            "the model overrides train_step. Expected Keras' train_step",
        ),
        (
            (
                '    z = keras.Input(shape=(), name="z")\n'
                "    return keras.Model([z], keras.layers.Dense(1)(keras.ops.expand_dims(z, 1)))"
            ),
            "regression",
            'output is not finite if "z" is missing. Expected a model that replaces nan',
        ),
        (
            (
                "    class Broken(keras.Model):\n        def call(self, features):\n"
                "            return features['height']\n    return Broken()"
            ),
            "regression",
            "line 16 (return features['height']): the model fails on raw features. Received: KeyError",
        ),
        (
            (
                "    class Eager(keras.Model):\n"
                "        def __init__(self):\n"
                "            super().__init__()\n"
                "            self.dense = keras.layers.Dense(1)\n"
                "            self.dense.build((None, 1))\n"
                "            self.built = True\n"
                "        def call(self, features):\n"
                "            x = keras.ops.expand_dims(features['x'], 1)\n"
                "            return self.dense(x if x[0, 0] > 0 else -x)\n"
                "    return Eager()"
            ),
            "regression",
            "the model fails on raw features. Received: OperatorNotAllowedInGraphError",
        ),
        (
            "    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])",
            "regression",
            'Give the model an input per feature, such as keras.Input(shape=(1,), name="x"), and join them by',
        ),
        (
            "    return keras.Sequential([keras.layers.Dense(1)])",
            "regression",
            "the model fails on raw features. Received: ",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    build: Callable[..., models.TrainedModel], body: str, task: str, said: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        build(body, task)
    assert said in caught.value.paragraph
    assert "users.py" in caught.value.paragraph
    # One paragraph, whatever Keras says.
    assert caught.value.paragraph.isprintable()
    assert "Arguments received" not in caught.value.paragraph


def test_the_default_model_takes_all_features(tmp_path: Path, natality: ProblemFile) -> None:
    path = tmp_path / "users.py"
    path.write_text(HEAD.format(label=LABELS["binary"]).split("def build_model")[0])
    file = load_problem(str(path))
    objective = objective_of(file.problem, STATISTICS)
    model = models.build(file, STATISTICS, objective, file.problem.training, {})
    assert model.inputs == ("x", "z", "color")
    assert isinstance(model.core, keras.Model)
    np.testing.assert_array_equal(model.core(model.prepare(dict(SAMPLE))), model.outputs(SAMPLE))
