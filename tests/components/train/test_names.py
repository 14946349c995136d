"""Columns whose names Python, Keras, TensorFlow or the built-in models use for themselves, from training to serving."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.problem import Categorical, Crossed, Numeric, Problem
from headrace.core.problem.features import COLUMN_NAME, RESERVED_NAMES
from headrace.core.problem.file import load_problem
from headrace.core.saved_model.input_names import argument_names
from headrace.core.saved_model.loaded import SavedModel

NAMES = [
    *("class", "import", "None", "True", "is", "lambda", "def", "self", "cls", "args", "kwargs", "training", "inputs"),
    *("normalize", "preprocessing", "core", "model", "stack", "where", "isnan", "cast", "add", "take", "not_equal"),
    *("numeric", "wide", "deep", "dense", "logits", "label_scale", "hidden_1", "hidden_1_dense", "wide_numeric"),
    *("embedding", "embedding_x", "embedding_x_table", "x_table", "x_embedding", "one_hot", "table_one_hot"),
    *("numbers", "raw", "stacked", "x", "X", "x_bucket", "x_vocabulary", "x_hash", "x_indices", "x_cross", "x_raw"),
    *("Age", "age", "AGE", "x_1"),
    *("texts_0", "code_0", "number_0", "table_0", "column_0", "Column_1", "serving_default", "features", "index"),
    *("stack_1", "input_layer", "keras_tensor", "functional", "name", "dtype", "shape", "small", "label", "nul", "con"),
]


_WORDS = {word.lower() for word in (*keyword.kwlist, "self")}


def names_like(name: str, names: list[str]) -> bool:
    """Whether another name differs in case only."""
    return sum(each.lower() == name.lower() for each in names) > 1


def column(name: str, kind: int) -> Any:
    return [
        lambda: Numeric(name),
        lambda: Numeric(name, buckets=[0.0], optional=True),
        lambda: Categorical(name, vocabulary=["a", "b"]),
        lambda: Categorical(name, embedding=2, optional=True),
        lambda: Categorical(name, hash_buckets=3),
    ][kind]()


def declaration(problem: Problem) -> str:
    declared = ", ".join(
        re.sub(r"^Crossed\(features=\((.*?),?\), ", r"Crossed(\1, ", repr(f)) for f in problem.features
    )
    return (
        "from headrace import *\n"
        f'problem = Problem(name="small", key="id", label={problem.label!r}, features=[{declared}],\n'
        "    training=Training(steps=1, batch_size=8, hidden_units=[4]))\n"
    )


def row(problem: Problem, number: int) -> dict[str, Any]:
    values = {"id": f"key {number}", problem.label.name: float(number % 5)}
    for place, feature in enumerate(problem.columns):
        numeric = isinstance(feature, Numeric)
        values[feature.name] = float(number * (place + 1) % 7) - 3 if numeric else "ab"[(number + place) % 2]
    return values


@settings(max_examples(2), phases=[Phase.generate])
@given(
    st.lists(st.sampled_from(NAMES), min_size=12, max_size=16, unique=True),
    st.lists(st.integers(0, 4), min_size=16, max_size=16),
)
def test_any_name_is_trained_exported_served_and_started_from(
    make_examples: Callable[..., Path],
    train_in: Callable[..., Any],
    tmp_path_factory: Any,
    names: list[str],
    kinds: list[int],
) -> None:
    label, *names = names
    features = [column(name, kind) for name, kind in zip(names, kinds, strict=False)]
    categories = [feature.name for feature in features if isinstance(feature, Categorical)]
    if len(categories) > 2:
        features += [Crossed(*categories[:2], hash_buckets=5, embedding=2), Crossed(*categories[:3], hash_buckets=5)]
    problem = Problem(name="small", key="id", label=Numeric(label), features=features)
    path = tmp_path_factory.mktemp("problem") / "problem.py"
    path.write_text(declaration(problem))
    file = load_problem(str(path))
    examples = make_examples(file.problem, [row(file.problem, number) for number in range(60)])
    trained = train_in(file, examples)
    golden = json.loads((trained.folder / "golden.json").read_text())
    rows = golden["instances"]
    inputs = {
        c.name: tf.constant([each[c.name] for each in rows], tf.float32 if isinstance(c, Numeric) else tf.string)
        for c in file.problem.columns
    }
    served = SavedModel(str(trained.folder / "saved_model"))
    assert served.inputs.keys() == inputs.keys() | {"key"}
    answers = served({**inputs, "key": tf.constant([each["key"] for each in rows])})["prediction"]
    np.testing.assert_allclose(answers, [each["prediction"] for each in golden["predictions"]], rtol=1e-5, atol=1e-6)
    loaded = keras.models.load_model(trained.folder / "model.keras")
    np.testing.assert_allclose(loaded(inputs)[:, 0], answers, rtol=1e-5, atol=1e-6)
    started = train_in(file, examples, warm_start=str(trained.folder)).training["warm_start"]
    assert started["parameters_carried"] == started["parameters"]


@given(st.lists(st.from_regex(COLUMN_NAME, fullmatch=True) | st.sampled_from(NAMES), min_size=1, unique=True))
def test_arguments_are_those_that_tensorflow_takes(names: list[str]) -> None:
    arguments = argument_names(names)
    assert list(arguments) == names
    assert len({argument.lower() for argument in arguments.values()}) == len(names)
    assert not {"self", "class", "None", "import"}.intersection(arguments.values())
    # A name that is no word of Python's, and has no other like it, is its own.
    assert all(
        argument == name or name.lower() in _WORDS or names_like(name, names) for name, argument in arguments.items()
    )


def test_reserved_names_are_those_of_predictions() -> None:
    assert not RESERVED_NAMES.intersection(NAMES)
