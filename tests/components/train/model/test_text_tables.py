"""Text tables: predictions by codes are those of the whole model, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.model import wide_and_deep
from headrace.components.train.model.objective import objective_of
from headrace.components.train.model.text_tables import TextTables
from headrace.core.problem import Categorical, Crossed, Numeric, Problem, Training
from headrace.core.saved_model.signatures import PREDICT_BY_CODE, TEXT_TABLES

FEATURES = [
    Numeric("x", buckets=[-1.0, 0.0, 2.0], optional=True),
    Numeric("z"),
    Categorical("color", vocabulary=["red", "blue"], embedding=2, optional=True),
    Categorical("shape", optional=True),
    Categorical("word", hash_buckets=7),
    Crossed("color", "shape", hash_buckets=11),
    Crossed("word", "shape", hash_buckets=50, embedding=3),
    Crossed("word", "color", "shape", hash_buckets=13),
    Crossed("x", "color", hash_buckets=17),
    Crossed("word", "x", "color", hash_buckets=19, embedding=2),
]
STATISTICS: dict[str, Any] = {
    "x": {"mean": 0.5, "standard_deviation": 2.0, "missing": 1},
    "z": {"mean": -1.0, "standard_deviation": 3.0, "missing": 0},
    "color": {"missing": 1, "distinct": 2, "vocabulary": [["red", 5], ["blue", 3]]},
    "shape": {"missing": 1, "distinct": 2, "vocabulary": [["round", 5], ["square", 3]]},
    "word": {"missing": 0, "distinct": 3, "vocabulary": [["a", 5], ["b", 3], ["c", 1]]},
    "y": {"mean": 2.0, "standard_deviation": 3.0, "missing": 0},
}
# Sorted by column: color, shape, word. Of each, one that no row has.
TEXTS = [
    [b"", b"blue", b"red", b"never seen", b"unused"],
    [b"", b"square", b"unused", b"round"],
    [b"", b"unused", *(f"word {n}".encode() for n in range(9)), "größer".encode(), b"\xff"],
]
UNUSED = [4, 2, 1]


def problem(*features: Any) -> Problem:
    return Problem(name="small", key="id", label=Numeric("y"), features=list(features))


def made(declared: Problem, training: Training) -> tuple[Any, TextTables | None, Any]:
    """A model with random weights, its text tables, and what it predicts of outputs."""
    objective = objective_of(declared, STATISTICS)
    preprocessing = wide_and_deep.build_preprocessing(declared, STATISTICS, training.model)
    core = wide_and_deep.build_core(declared, STATISTICS, preprocessing, objective, training)
    random = np.random.default_rng(3)
    core.set_weights([random.normal(size=weight.shape).astype(np.float32) for weight in core.get_weights()])
    whole = wide_and_deep.join(declared, preprocessing, core)
    return whole, TextTables.of(declared, STATISTICS, training.model, preprocessing, core), objective.predictions


@pytest.mark.parametrize(
    "training",
    [
        Training(hidden_units=[16, 8]),
        Training(hidden_units=[16, 8], dropout=0.5),
        Training(hidden_units=[]),
        Training(model="linear"),
        Training(model="deep", hidden_units=[16]),
        Training(model="deep_and_cross", hidden_units=[16, 8]),
        Training(model="deep_and_cross", hidden_units=[]),
    ],
    ids=["wide_and_deep", "dropout", "only_wide", "linear", "deep", "deep_and_cross", "only_cross"],
)
def test_predictions_have_the_bits_of_the_whole_model(training: Training) -> None:
    whole, text_tables, predictions = made(problem(*FEATURES), training)
    assert text_tables is not None
    signatures = text_tables.signatures(predictions)
    serve = tf.function(lambda features: predictions(whole(features, training=False)), autograph=False)
    tables = signatures[TEXT_TABLES](**{f"texts_{at}": tf.constant(texts) for at, texts in enumerate(TEXTS)})
    for rows in (48, 960):
        random = np.random.default_rng(rows)
        codes = [
            random.choice([n for n in range(len(texts)) if n != UNUSED[at]], rows) for at, texts in enumerate(TEXTS)
        ]
        x = np.where(random.random(rows) < 0.2, np.nan, random.normal(scale=2, size=rows)).astype(np.float32)
        numbers = {"x": tf.constant(x), "z": tf.constant(random.normal(size=rows), tf.float32)}
        texts = {
            name: tf.constant([TEXTS[at][code] for code in codes[at]])
            for at, name in enumerate(("color", "shape", "word"))
        }
        predict = signatures[PREDICT_BY_CODE]
        names = predict.structured_input_signature[1]
        inputs = {f"number_{at}": values for at, values in enumerate(numbers.values())} | tables
        for name in names:
            if name.startswith("code_"):
                group = [int(at) for at in name.removeprefix("code_").split("_")]
                joined = np.ravel_multi_index([codes[at] for at in group], [len(TEXTS[at]) for at in group])
                inputs[name] = tf.constant(joined, tf.int32)
        received, expected = predict(**inputs), serve({**numbers, **texts})
        assert received["prediction"].numpy().tobytes() == expected["prediction"].numpy().tobytes()


@pytest.mark.parametrize(
    "features",
    [
        [Numeric("x"), Numeric("z")],
        [Categorical("color"), Numeric("x", buckets=list(range(16))), Crossed("x", "color", hash_buckets=9)],
    ],
    ids=["no texts", "a cross with too many buckets"],
)
def test_models_without_text_tables(features: list[Any]) -> None:
    assert made(problem(*features), Training(hidden_units=[4]))[1] is None


def test_one_hot_features_with_too_many_combinations_are_added_up_row_by_row() -> None:
    features = [Categorical("color"), Categorical("word", hash_buckets=2_000), Numeric("z")]
    _, text_tables, predictions = made(problem(*features), Training(hidden_units=[4]))
    assert text_tables is not None
    outputs = text_tables.signatures(predictions)[TEXT_TABLES].structured_outputs
    assert sorted(outputs) == ["table_0", "table_1"]
    _, text_tables, predictions = made(problem(features[0], features[2]), Training(hidden_units=[4]))
    assert text_tables is not None
    assert text_tables.signatures(predictions)[TEXT_TABLES].structured_outputs["one_hot"].shape == [4, 4]
