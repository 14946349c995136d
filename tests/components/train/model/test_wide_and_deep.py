from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.model import wide_and_deep
from headrace.components.train.model.distinct_values import ByValue
from headrace.components.train.model.objective import Objective, objective_of
from headrace.core.errors import ProblemError
from headrace.core.problem import Categorical, Crossed, Feature, Numeric, Problem, Training

STATISTICS: dict[str, Any] = {
    "age": {"count": 9, "missing": 1, "mean": 30.0, "standard_deviation": 5.0},
    "fixed": {"count": 10, "missing": 0, "mean": 7.0, "standard_deviation": 0.0},
    "never": {"count": 0, "missing": 10, "mean": None, "standard_deviation": None},
    "color": {"count": 9, "missing": 1, "distinct": 3, "vocabulary": [["red", 5], ["blue", 3], ["green", 1]]},
    "sex": {"count": 10, "missing": 0, "distinct": 2, "vocabulary": [["f", 6], ["m", 4]]},
    "city": {"count": 10, "missing": 0, "distinct": 10, "vocabulary": [[str(i), 1] for i in range(10)]},
    "y": {"count": 10, "missing": 0, "mean": 100.0, "standard_deviation": 20.0},
    "kind": {"count": 10, "missing": 0, "distinct": 2, "vocabulary": [["a", 7], ["b", 1]]},
}
AGE = Numeric("age", buckets=[20, 30, 40], optional=True)
COLOR = Categorical("color", optional=True)


def problem(*features: Feature, label: Any = None) -> Problem:
    return Problem(name="p", key="id", label=label or Numeric("y"), features=features)


def preprocess(declared: Problem, **columns: Any) -> dict[str, Any]:
    prepare = ByValue(declared, STATISTICS)
    tensors = {n: tf.constant(v, tf.string if isinstance(v[0], str) else tf.float32) for n, v in columns.items()}
    return {name: tensor.numpy() for name, tensor in prepare(tensors).items()}


def core_of(declared: Problem, training: Training | None = None) -> tuple[Any, Any, Objective]:
    objective = objective_of(declared, STATISTICS)
    training = training or Training(hidden_units=[8, 4])
    prepare = ByValue(declared, STATISTICS, training.model)
    core = wide_and_deep.build_core(declared, STATISTICS, prepare.model, objective, training)
    return prepare, core, objective


def test_numbers_are_normalized_and_missing_ones_are_the_mean() -> None:
    declared = problem(Numeric("age"), Numeric("fixed"), Numeric("never"))
    found = preprocess(declared, age=[30, 40, np.nan], fixed=[7, 9, np.nan], never=[0, 2, np.nan])
    np.testing.assert_array_equal(found["numeric"], [[0, 0, 0], [2, 2, 2], [0, 0, 0]])
    assert set(found) == {"numeric"}


def test_bucket_boundaries_belong_to_the_bucket_above() -> None:
    found = preprocess(problem(AGE), age=[-9, 19.9, 20, 29.9, 30, 39.9, 40, 1e9, np.nan])
    # A missing age stands for the mean, 30.
    assert found["wide"][:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 2]


@pytest.mark.parametrize("scale", [1e-37, 1e-20, 1e-12, 1e-9, 1.0, 1e6, 1e20, 1e36])
def test_numbers_of_any_scale_are_normalized(scale: float) -> None:
    statistics = {"x": {"mean": 3.0 * scale, "standard_deviation": 2.0 * scale}}
    prepare = ByValue(problem(Numeric("x")), statistics)
    found = prepare({"x": tf.constant(np.array([1.0, 3.0, 5.0, np.nan, 9.0]) * scale, tf.float32)})["numeric"]
    np.testing.assert_allclose(found, [[-1], [0], [1], [0], [3]], atol=1e-5)


def test_categories_are_missing_unknown_and_then_the_vocabulary() -> None:
    values = ["", "violet", "red", "blue", "green"]
    assert preprocess(problem(COLOR), color=values)["deep"][:, 0].tolist() == [0, 1, 2, 3, 4]
    # Measured values beyond max_vocabulary share the row of the unknown ones.
    assert preprocess(problem(Categorical("color", max_vocabulary=2)), color=values)["deep"][:, 0].tolist() == [
        *[0, 1, 2, 3, 1]
    ]
    declared = Categorical("color", vocabulary=["green", "violet"])
    assert preprocess(problem(declared), color=values)["deep"][:, 0].tolist() == [0, 3, 1, 1, 2]


def test_hashed_categories_are_missing_and_then_the_hash() -> None:
    cities = [f"city {i}" for i in range(500)]
    rows = preprocess(problem(Categorical("city", hash_buckets=16)), city=["", *cities])["wide"][:, 0]
    assert rows[0] == 0
    assert rows[1:].min() == 1
    assert rows[1:].max() == 16
    # FarmHash64 of the text, modulo the buckets, for as long as models live.
    expected = tf.strings.to_hash_bucket_fast(cities, 16).numpy() + 1
    np.testing.assert_array_equal(rows[1:], expected)


def test_tables_lie_one_below_the_other() -> None:
    declared = problem(Crossed("age", "color", hash_buckets=10), COLOR, AGE, Categorical("city", embedding=2))
    found = preprocess(declared, age=[20, 50], color=["red", ""], city=["0", "x"])
    # color has rows 0 to 4, age 5 to 8, city 9 to 20, and the cross 21 to 30.
    np.testing.assert_array_equal(found["wide"][:, :3], [[2, 6, 11], [0, 8, 10]])
    assert ((found["wide"][:, 3] >= 21) & (found["wide"][:, 3] < 31)).all()
    np.testing.assert_array_equal(found["deep"], [[2, 6], [0, 8]])
    np.testing.assert_array_equal(found["city.embedding"], [2, 1])


def test_a_cross_depends_on_each_part_and_not_on_the_vocabulary() -> None:
    cross = Crossed("age", "color", "sex", hash_buckets=10_000)
    sexes = Categorical("sex", vocabulary=["m", "f"])
    rows = {
        "age": [25, 26, 45, 25, 25],
        "color": ["red", "red", "red", "blue", "red"],
        "sex": ["f", "f", "f", "f", "m"],
    }

    def hashes(*features: Feature) -> list[int]:
        found = preprocess(problem(*features, cross), **rows)["wide"][:, -1]
        return [int(h) for h in found - found[0]]

    found = hashes(AGE, COLOR, sexes)
    assert found[1] == 0
    assert len(set(found)) == 4
    assert hashes(AGE, Categorical("color", max_vocabulary=1), Categorical("sex", embedding=2)) == found


def test_it_begins_at_what_is_known_of_the_label() -> None:
    rows = {"age": tf.constant([31.0, 12.0]), "color": tf.constant(["red", "x"])}

    def outputs(label: Any, training: Training) -> Any:
        prepare, core, _ = core_of(problem(AGE, COLOR, label=label), training)
        return core(prepare(rows)).numpy()

    # The hidden layers begin at random, and move a label of deviation 20 by little.
    assert np.abs(outputs(Numeric("y"), Training(hidden_units=[])) - 100).max() == 0
    assert np.abs(outputs(Numeric("y"), Training(hidden_units=[8, 4])) - 100).max() < 60
    linear = Training(hidden_units=[])
    binary = outputs(Categorical("kind", vocabulary=["a", "b"]), linear)
    # 7 and 1 rows, and one imagined row each.
    np.testing.assert_allclose(binary, np.log([[2 / 8], [2 / 8]]), rtol=1e-6)
    multiclass = outputs(Categorical("kind", vocabulary=["a", "b", "c"]), linear)
    np.testing.assert_allclose(multiclass, np.log([[8 / 11, 2 / 11, 1 / 11]] * 2), rtol=1e-6)


@pytest.mark.parametrize("embedding", [None, 3])
def test_a_category_that_was_never_seen_adds_nothing(embedding: int | None) -> None:
    declared = problem(Numeric("age"), Categorical("sex", vocabulary=["f", "m", "x"], embedding=embedding))
    prepare, core, _ = core_of(declared)
    rows = {"age": tf.fill([5], 33.0), "sex": tf.constant(["", "unknown", "x", "f", "m"])}
    outputs = core(prepare(rows)).numpy()[:, 0]
    assert outputs[0] == outputs[1] == outputs[2]
    assert len({outputs[0], outputs[3], outputs[4]}) == 3


def test_weights_follow_from_the_seed() -> None:
    def weights(seed: int) -> list[Any]:
        _, core, _ = core_of(problem(AGE, COLOR, Categorical("city", embedding=2)), Training(seed=seed, dropout=0.1))
        return [weight.value.numpy() for weight in core.weights]

    first = weights(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, weights(1), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, weights(2), strict=True))


def test_one_hot_times_a_kernel_is_what_the_tables_do() -> None:
    prepare, core, _ = core_of(problem(AGE, COLOR), Training(hidden_units=[8]))
    rows = prepare({"age": tf.constant([25.0, np.nan]), "color": tf.constant(["blue", ""])})
    layers = {layer.name: layer for layer in core.layers}
    one_hot = np.zeros([2, 9])
    for row, places in enumerate(rows["deep"].numpy()):
        one_hot[row, places] = 1
    dense, table, out = layers["hidden_1_dense"], layers["hidden_1_one_hot"], layers["deep_out"]
    hidden = rows["numeric"].numpy() @ dense.kernel.value.numpy() + one_hot @ table.embeddings.value.numpy()
    expected = np.maximum(hidden, 0) @ out.kernel.value.numpy() * 20 + 100
    np.testing.assert_allclose(core(rows), expected, rtol=1e-5)


def test_it_consists_of_keras_own_layers() -> None:
    declared = problem(
        AGE, COLOR, Categorical("city", hash_buckets=8, embedding=2), Crossed("age", "color", hash_buckets=8)
    )
    prepare, core, _ = core_of(declared)
    whole = wide_and_deep.join(declared, prepare.model, core)
    again = keras.Model.from_config(whole.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in whole.weights]
    assert all(type(layer).__module__.startswith("keras.") for layer in (*prepare.model.layers, *core.layers))


EVERYTHING = (
    AGE,
    Numeric("fixed"),
    COLOR,
    Categorical("city", hash_buckets=8, embedding=2),
    Crossed("age", "color", hash_buckets=8),
    Crossed("color", "city", hash_buckets=8, embedding=3),
)
ROWS = {
    "age": tf.constant([25.0, 41.0, np.nan]),
    "fixed": tf.constant([7.0, 9.0, 6.0]),
    "color": tf.constant(["red", "", "violet"]),
    "city": tf.constant(["1", "2", "x"]),
}


@pytest.mark.parametrize(
    ("kind", "inputs", "layers"),
    [
        ("linear", {"numeric", "wide"}, {"wide_numeric", "wide_one_hot"}),
        ("deep", {"numeric", "deep", "city.embedding", "color_x_city.embedding"}, {"hidden_1_one_hot", "deep_out"}),
        (
            "deep_and_cross",
            {"numeric", "deep", "city.embedding", "color_x_city.embedding"},
            {"deep_out", "hidden_1_one_hot", "cross_1_dense", "cross_2_dense", "cross_one_hot", "cross_out"},
        ),
        (
            "wide_and_deep",
            {"numeric", "wide", "deep", "city.embedding", "color_x_city.embedding"},
            {"wide_numeric", "wide_one_hot", "hidden_1_one_hot", "deep_out"},
        ),
    ],
)
def test_one_word_chooses_the_model(kind: Any, inputs: set[str], layers: set[str]) -> None:
    declared = problem(*EVERYTHING)
    prepare, core, _ = core_of(declared, Training(model=kind, hidden_units=[8, 4]))
    prepared = prepare(ROWS)
    assert set(prepared) == inputs == set(core.input)
    # No strings get to the device, and nothing but the batch is of unknown size.
    assert all(tensor.dtype in ("float32", "int32") and None not in tensor.shape[1:] for tensor in core.inputs)
    found = {layer.name for layer in core.layers}
    parts = {"wide_numeric", "wide_one_hot", "hidden_1_one_hot", "deep_out", "cross_1_dense", "cross_out"}
    assert found & parts == layers & parts
    assert layers <= found
    whole = wide_and_deep.join(declared, prepare.model, core)
    np.testing.assert_array_equal(whole(ROWS), core(prepared))
    again = keras.Model.from_config(whole.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in whole.weights]
    assert all(type(layer).__module__.startswith("keras.") for layer in (*prepare.model.layers, *core.layers))


def test_cross_layers_multiply() -> None:
    training = Training(model="deep_and_cross", hidden_units=[], cross_layers=2)
    prepare, core, _ = core_of(problem(AGE, Numeric("fixed"), COLOR), training)
    rows = prepare({name: ROWS[name] for name in ("age", "fixed", "color")})
    layers = {layer.name: layer for layer in core.layers}
    table = layers["cross_one_hot"].embeddings.value.numpy()
    base = np.concatenate([rows["numeric"].numpy(), table[rows["deep"].numpy()].reshape(3, -1)], axis=1)
    x = base
    for number in (1, 2):
        dense = layers[f"cross_{number}_dense"]
        x = base * (x @ dense.kernel.value.numpy() + dense.bias.value.numpy()) + x
    expected = (x @ layers["cross_out"].kernel.value.numpy() + layers["cross_out"].bias.value.numpy()) * 20 + 100
    np.testing.assert_allclose(core(rows), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "deep", "deep_and_cross"])
def test_each_begins_at_what_is_known_of_the_label(kind: Any) -> None:
    label = Categorical("kind", vocabulary=["a", "b"])
    prepare, core, _ = core_of(problem(*EVERYTHING, label=label), Training(model=kind, hidden_units=[4]))
    # 7 and 1 rows, and one imagined row each; what begins at random moves it by little.
    np.testing.assert_allclose(core(prepare(ROWS)), np.full([3, 1], np.log(2 / 8)), atol=1.6)


def test_a_deep_model_has_layers() -> None:
    with pytest.raises(ProblemError, match="a deep model has hidden layers"):
        Training(model="deep", hidden_units=[])
