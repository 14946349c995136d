"""A model that starts from an earlier one answers as that one did, whatever happened to the rows in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.input import source
from headrace.components.train.input.examples import Examples, open_examples
from headrace.components.train.model import build as model
from headrace.components.train.model import warm_start
from headrace.components.train.model.objective import objective_of
from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Crossed, Numeric, Problem, Training
from headrace.core.problem.file import ProblemFile

Make = Callable[..., Path]
Row = dict[str, Any]
# A plurality that no birth had before.
NEW_PLURALITY = "quadruplets"


@pytest.fixture
def later(natality_rows: list[Row]) -> list[Row]:
    rows = [row for row in natality_rows if row["mother_age"] > 24 and row["mother_race"] != "black"]
    return [{**row, "plurality": NEW_PLURALITY} if number % 9 == 0 else row for number, row in enumerate(rows)]


def compare_rows(problem: Problem, examples: Examples) -> dict[str, Any]:
    rows = source.raw_rows(problem, examples.eval, 1000)
    return {name: tf.constant(values) for name, values in rows.items() if name != "key"}


def start(
    trained: Any, file: ProblemFile, examples: Examples, **training: Any
) -> tuple[model.TrainedModel, dict[str, Any], Mapping[str, Any]]:
    """A model of `file` that was started from `trained`, what is said of it, and the statistics it was built from."""
    earlier = warm_start.open_model(str(trained.folder), file.problem)
    statistics = earlier.with_scales(examples.statistics)
    asked = dataclasses.replace(file.problem.training, **{"seed": 7, **training})
    sample = {name: values[:8] for name, values in compare_rows(file.problem, examples).items()}
    built = model.build(file, statistics, objective_of(file.problem, statistics), asked, sample)
    is_default = file.build_model is None
    said = warm_start.carry(earlier, built, file.problem, examples.statistics, is_default=is_default)
    return built, said, statistics


def answers(trained: Any, features: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    served = tf.saved_model.load(str(trained.folder / "saved_model"))
    keys = tf.constant([b""] * len(next(iter(features.values()))))
    return np.asarray(served.signatures["serving_default"](**features, key=keys)["prediction"])


def test_it_answers_as_the_earlier_model_on_the_same_rows(
    natality_model: Any, natality: ProblemFile, natality_examples: Path
) -> None:
    examples = open_examples(str(natality_examples), natality.problem)
    built, said, _ = start(natality_model, natality, examples)
    features = compare_rows(natality.problem, examples)
    np.testing.assert_allclose(built.outputs(features)[:, 0], answers(natality_model, features), rtol=1e-5)
    assert said["notes"] == []
    assert said["parameters_carried"] == said["parameters"] == natality_model.result.parameters
    assert said["model_version"] == natality_model.result.model_version


def test_vocabularies_that_grew_keep_what_was_learned_of_their_values(
    natality_model: Any, natality: ProblemFile, make_examples: Make, later: list[Row]
) -> None:
    problem = natality.problem
    examples = open_examples(str(make_examples(problem, later)), problem)
    values = [value for value, _ in examples.statistics["plurality"]["vocabulary"]]
    assert NEW_PLURALITY in values
    built, said, statistics = start(natality_model, natality, examples)
    # Rows with the new value too: to the earlier model it was an unknown one.
    features = compare_rows(problem, examples)
    assert NEW_PLURALITY.encode() in features["plurality"].numpy()
    np.testing.assert_allclose(built.outputs(features)[:, 0], answers(natality_model, features), rtol=1e-5)
    notes = "\n".join(said["notes"])
    assert f'plurality: 1 new value ("{NEW_PLURALITY}"); each starts as the unknown value' in notes
    assert 'mother_race: 1 known value ("black") no longer present; dropped' in notes
    assert "mother_age: the Model's scale is used, mean 2" in notes
    assert statistics["mother_age"]["mean"] < examples.statistics["mother_age"]["mean"]


def test_other_declarations_are_listed_and_start_without_effect(
    natality_model: Any, natality: ProblemFile, make_examples: Make, natality_rows: list[Row]
) -> None:
    features = [
        Numeric("mother_age", minimum=10, maximum=65, buckets=[18, 30]),
        Numeric("gestation_weeks", minimum=17, maximum=47),
        Categorical("is_male", vocabulary=["true", "false"]),
        Categorical("plurality", hash_buckets=8),
        Categorical("mother_race", embedding=5),
        Categorical("cigarette_use", vocabulary=["false", "true"], optional=True),
        Categorical("alcohol_use", optional=True),
        Crossed("mother_age", "plurality", hash_buckets=64),
    ]
    file = dataclasses.replace(natality, problem=dataclasses.replace(natality.problem, features=features))
    examples = open_examples(str(make_examples(file.problem, [
        {**row, "alcohol_use": "true" if number % 3 else None} for number, row in enumerate(natality_rows)
    ])), file.problem)  # fmt: skip
    built, said, _ = start(natality_model, file, examples)
    assert sorted(said["notes"]) == [
        "alcohol_use: a new feature; it starts without effect",
        "embedding_mother_race_table/embeddings: [6, 3] became [6, 5]; they are initialized",
        "mother_age: the buckets differ from the Model's; they are initialized",
        "mother_age_x_plurality: the buckets differ from the Model's; they are initialized",
        "mother_married: no longer a feature; its weights are dropped",
        "plurality: buckets are new, and start without effect",
        "weight_gain_pounds: no longer a feature; its weights are dropped",
    ]
    assert 0 < said["parameters_carried"] < said["parameters"]
    weights = {variable.path: np.asarray(variable.value) for variable in built.core.weights}
    earlier = {
        variable.path: np.asarray(variable.value)
        for variable in keras.models.load_model(natality_model.folder / "model.keras").get_layer("model.core").weights
    }
    # Columns of numbers by name: age and weeks are the first two of the three that were.
    np.testing.assert_array_equal(weights["wide_numeric/kernel"], earlier["wide_numeric/kernel"][:2])
    # Rows of the two values change places: before, "false" came first.
    tables = weights["wide_one_hot/embeddings"]
    old = earlier["wide_one_hot/embeddings"][6:10]
    np.testing.assert_array_equal(tables[3:7], old[[0, 1, 3, 2]])
    # A number's buckets are others now.
    np.testing.assert_array_equal(tables[:3], np.zeros((3, 1)))


def test_a_chain_of_warm_starts_keeps_the_first_scale(
    natality_model: Any, natality: ProblemFile, make_examples: Make, train_in: Any, later: list[Row]
) -> None:
    examples = make_examples(natality.problem, later)
    second = train_in(natality, examples, warm_start=str(natality_model.folder), epochs=2)
    assert second.training["warm_start"]["model_version"] == natality_model.result.model_version
    assert second.training["scales"]["mother_age"] == natality_model.training["scales"]["mother_age"]
    # Two epochs from there are better than two from nothing.
    anew = train_in(natality, examples, epochs=2)
    assert second.result.eval_loss < anew.result.eval_loss
    third = warm_start.open_model(str(second.folder), natality.problem)
    assert third.scales == second.training["scales"]


@pytest.mark.parametrize("kind", ["linear", "deep", "deep_and_cross"])
def test_every_kind_of_model(
    kind: str, natality: ProblemFile, make_examples: Make, train_in: Any, natality_rows: list[Row], later: list[Row]
) -> None:
    training = dataclasses.replace(natality.problem.training, model=kind, epochs=2, hidden_units=[6, 4])
    problem = dataclasses.replace(natality.problem, training=training)
    trained = train_in(dataclasses.replace(natality, problem=problem), make_examples(problem, natality_rows))
    # A feature more, and values that were not there.
    features = [*problem.features, Numeric("births_before", optional=True), Categorical("county")]
    after = dataclasses.replace(natality, problem=dataclasses.replace(problem, features=features))
    more = [{**row, "births_before": float(n % 3), "county": f"c{n % 5}"} for n, row in enumerate(later)]
    examples = open_examples(str(make_examples(after.problem, more)), after.problem)
    built, said, _ = start(trained, after, examples)
    rows = compare_rows(after.problem, examples)
    known = {column.name: rows[column.name] for column in problem.columns}
    np.testing.assert_allclose(built.outputs(rows)[:, 0], answers(trained, known), rtol=1e-5)
    assert "county: a new feature; it starts without effect" in said["notes"]


def test_more_classes_than_before(
    make_examples: Make, train_in: Any, natality: ProblemFile, natality_rows: list[Row]
) -> None:
    rows = natality_rows
    for row in rows:
        weight = row["weight_pounds"]
        row["size"] = "small" if weight < 6 else "middle" if weight < 8 else "large"

    def problem(*classes: str) -> Problem:
        return Problem(
            "sizes",
            "record_id",
            Categorical("size", vocabulary=classes),
            [Numeric("gestation_weeks"), Categorical("plurality")],
            training=Training(epochs=2, hidden_units=[4], learning_rate=0.01),
        )

    before = dataclasses.replace(natality, problem=problem("small", "middle", "large"))
    trained = train_in(before, make_examples(before.problem, rows))
    after = dataclasses.replace(natality, problem=problem("huge", "large", "middle", "small"))
    examples = open_examples(str(make_examples(after.problem, rows)), after.problem)
    built, said, _ = start(trained, after, examples)
    assert said["notes"] == ['the label: 1 new value ("huge"); each starts at its frequency in these rows']
    features = compare_rows(after.problem, examples)
    loaded = keras.models.load_model(trained.folder / "model.keras")
    outputs, earlier = np.asarray(built.outputs(features)), np.asarray(loaded(features))
    np.testing.assert_allclose(outputs[:, [3, 2, 1]], earlier, rtol=1e-5, atol=1e-6)
    assert outputs[:, 0].max() < outputs[:, 1:].max(axis=1).min()


def users(file: ProblemFile, build: Callable[..., Any]) -> ProblemFile:
    return dataclasses.replace(file, build_model=build)


def lookup_model(problem: Problem, statistics: Any, hyperparameters: Any) -> Any:
    inputs = {
        "plurality": keras.Input(shape=(), name="plurality", dtype="string"),
        "gestation_weeks": keras.Input(shape=(), name="gestation_weeks", dtype="float32"),
    }
    values = [value for value, _ in statistics["plurality"]["vocabulary"]]
    rows = keras.layers.StringLookup(vocabulary=values, name="plurality_rows")(inputs["plurality"])
    vector = keras.layers.Embedding(len(values) + 1, 2, name="plurality_vector")(rows)
    weeks = keras.ops.expand_dims(inputs["gestation_weeks"], 1)
    hidden = keras.layers.Dense(3, activation="relu", name="hidden")(keras.ops.concatenate([weeks, vector], axis=1))
    return keras.Model(inputs, keras.layers.Dense(1, name="out")(hidden))


def test_a_users_model_by_name_and_by_value(
    natality: ProblemFile, natality_examples: Path, make_examples: Make, train_in: Any, later: list[Row]
) -> None:
    file = users(natality, lookup_model)
    trained = train_in(file, natality_examples, epochs=2)
    examples = open_examples(str(make_examples(natality.problem, later)), natality.problem)
    built, said, _ = start(trained, file, examples)
    features = compare_rows(natality.problem, examples)
    np.testing.assert_allclose(built.outputs(features)[:, 0], answers(trained, features), rtol=1e-5)
    assert said["parameters_carried"] == said["parameters"]


def test_a_users_model_that_changed(natality: ProblemFile, natality_examples: Path, train_in: Any) -> None:
    def wider(problem: Problem, statistics: Any, hyperparameters: Any) -> Any:
        weeks = keras.Input(shape=(), name="gestation_weeks", dtype="float32")
        hidden = keras.layers.Dense(4, name="hidden")(keras.ops.expand_dims(weeks, 1))
        return keras.Model({"gestation_weeks": weeks}, keras.layers.Dense(1, name="out")(hidden))

    trained = train_in(users(natality, lookup_model), natality_examples, epochs=1)
    examples = open_examples(str(natality_examples), natality.problem)
    _, said, _ = start(trained, users(natality, wider), examples)
    assert said["notes"] == [
        "hidden/kernel: [3, 3] became [1, 4]; they are initialized",
        "hidden/bias: [3] became [4]; they are initialized",
        "out/kernel: [3, 1] became [4, 1]; they are initialized",
        "plurality_vector/embeddings: no longer used",
    ]
    assert said["parameters_carried"] == 1


def test_nothing_that_fits(natality_model: Any, natality: ProblemFile, natality_examples: Path) -> None:
    examples = open_examples(str(natality_examples), natality.problem)
    with pytest.raises(UsageError) as caught:
        start(natality_model, users(natality, lookup_model), examples)
    assert "training cannot start from this Model: none of its weights match" in caught.value.paragraph
    assert "a layer of the same name with weights of the same shape" in caught.value.paragraph


def test_unsuitable_models(natality_model: Any, natality: ProblemFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        warm_start.open_model(str(tmp_path), natality.problem)
    assert "this folder holds no Model. Expected a folder with training.json" in caught.value.paragraph
    for label, said in (
        (Numeric("apgar_5min"), 'it predicts another label. Expected Numeric "apgar_5min". Received: Numeric "weight'),
        (Categorical("weight_pounds", vocabulary=["a", "b"]), "it predicts another label. Expected Categorical"),
    ):
        other = dataclasses.replace(natality.problem, label=label, gate=None)
        with pytest.raises(UsageError) as caught:
            warm_start.open_model(str(natality_model.folder), other)
        assert said in caught.value.paragraph
