"""Examples and Models written by hand, so that what evaluation must find follows from the rows and a formula."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.examples_manifest import write_manifest

from headrace.components.evaluate.evaluator import EvaluateConfig, EvaluateResult, evaluate
from headrace.core.artifacts.examples import Schema
from headrace.core.problem import Categorical, Gate, Numeric, Problem
from headrace.core.problem.file import ProblemFile

NATALITY = Path(__file__).parents[3] / "examples" / "natality" / "births.csv"
Row = dict[str, Any]


def write_examples(folder: Path, problem: Problem, rows: Sequence[Row], *, test_shards: int = 2) -> Path:
    """Examples of `rows`, None standing for a missing value: every tenth row tests, the next tunes, the rest train."""
    import tensorflow as tf

    label = problem.label
    columns = {f.name: f for f in (*problem.columns, *problem.targets)}
    splits: dict[str, list[Row]] = {
        "train": [r for i, r in enumerate(rows) if i % 10 > 1],
        "eval": [r for i, r in enumerate(rows) if i % 10 == 1],
        "test": [r for i, r in enumerate(rows) if i % 10 == 0],
    }
    manifest: dict[str, dict[str, int]] = {}
    for split, members in splits.items():
        (folder / split).mkdir(parents=True)
        count = test_shards if split == "test" else 1
        shards = manifest[split] = {}
        for at, part in enumerate(np.array_split(np.arange(len(members)), count)):
            name = f"{split}/part-{at:05d}-of-{count:05d}.tfrecord"
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for index in part:
                    writer.write(encode(members[index], problem.key, columns))
            shards[name] = len(part)
    values = [row[label.name] for row in splits["train"]]
    if isinstance(label, Numeric):
        statistics: dict[str, Any] = {"kind": "numeric", "mean": float(np.mean([v for v in values if v is not None]))}
    else:
        counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
        statistics = {"kind": "categorical", "vocabulary": counts}
    statistics["count"] = len(values)
    if problem.weight_column is not None:
        statistics["weighted"] = by_weight(values, [row[problem.weight_column.name] for row in splits["train"]])
    write_json(folder / "statistics.json", {"format": 1, "columns": {label.name: statistics}})
    write_json(folder / "schema.json", Schema.of(problem).to_json())
    write_manifest(folder, manifest, problem=problem.name, schema_digest=problem.schema_digest, identity="e" * 16)
    return folder


def by_weight(values: list[Any], weights: list[float]) -> dict[str, Any]:
    """What statistics.json has as "weighted" of a label."""
    if isinstance(values[0], float):
        return {"weight": sum(weights), "mean": float(np.average(values, weights=weights))}
    totals: Counter[str] = Counter()
    for value, weight in zip(values, weights, strict=True):
        totals[value] += weight  # type: ignore[assignment]
    return {"weight": sum(weights), "vocabulary": sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))}


def encode(row: Row, key: str, columns: dict[str, Any]) -> bytes:
    """One row as tf.train.Example, what is missing being absent."""
    import tensorflow as tf

    features = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(row[key]).encode()]))}
    for name, column in columns.items():
        value = row[name]
        if value is None:
            continue
        if isinstance(column, Numeric):
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        else:
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def write_model(
    folder: Path, problem: Problem, answer: Callable[[dict[str, Any]], dict[str, Any]], *, version: str = "a" * 16
) -> Path:
    """A Model whose SavedModel computes `answer` from the raw features."""
    import tensorflow as tf

    class Formula(tf.Module):  # type: ignore[misc]
        @tf.function  # type: ignore[untyped-decorator]
        def serve(self, **inputs: Any) -> dict[str, Any]:
            return {"key": tf.identity(inputs["key"]), **answer(inputs)}

    module = Formula()
    specs = {
        f.name: tf.TensorSpec([None], tf.float32 if isinstance(f, Numeric) else tf.string, f.name)
        for f in problem.columns
    }
    signature = module.serve.get_concrete_function(**specs, key=tf.TensorSpec([None], tf.string, "key"))
    tf.saved_model.save(module, str(folder / "saved_model"), signatures={"serving_default": signature})
    write_json(folder / "problem.json", problem.to_json())
    write_json(folder / "training.json", {"format": 1, "model_version": version})
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def class_answer(problem: Problem, probabilities: Any, prediction: Any) -> dict[str, Any]:
    """What a signature gives back for probabilities [rows, classes] and predicted classes [rows]."""
    import tensorflow as tf

    assert isinstance(problem.label, Categorical)
    vocabulary = tf.constant(list(problem.label.vocabulary or ()))
    found = {"prediction": tf.gather(vocabulary, prediction)}
    if problem.task == "binary":
        return {**found, "probability": probabilities[:, 1]}
    return {**found, "probabilities": probabilities}


@dataclasses.dataclass(frozen=True)
class Case:
    """A problem with Examples and a Model, and the test rows that are in them."""

    problem: Problem
    examples: Path
    model: Path
    rows: list[Row]

    def run(self, output: Path, *, problem: Problem | None = None, **options: Any) -> tuple[EvaluateResult, Any]:
        """Evaluates, and gives back the result and the file."""
        chosen: dict[str, Any] = {"examples": str(self.examples), "model": str(self.model), "resamples": 200, **options}
        file = ProblemFile(problem or self.problem, "problem.py", "", "", None)
        result = evaluate(file, EvaluateConfig(output=str(output), **chosen))
        return result, json.loads((output / "evaluation.json").read_text())

    def with_gate(self, gate: Gate | None) -> Problem:
        """The problem with another gate, which leaves the Examples as they are."""
        return dataclasses.replace(self.problem, gate=gate)


@pytest.fixture(scope="session")
def births() -> list[Row]:
    """The births that have a number of weeks, numbers as float, what is missing as None."""
    numeric = {"weight_pounds", "mother_age", "gestation_weeks", "weight_gain_pounds"}
    with NATALITY.open(newline="") as file:
        rows = [
            {n: (float(v) if n in numeric else v) if v else None for n, v in r.items()} for r in csv.DictReader(file)
        ]
    return [row for row in rows if row["gestation_weeks"] is not None]


FEATURES = (
    Numeric("mother_age", buckets=[20, 25, 30, 35, 40]),
    Numeric("gestation_weeks"),
    Numeric("weight_gain_pounds", optional=True),
    Categorical("plurality"),
    Categorical("mother_race"),
)


@pytest.fixture(scope="session")
def predicted_weight() -> Callable[[Row], float]:
    """The regression model's formula, whose coefficients float32 holds exactly."""

    def formula(row: Row) -> float:
        gain = 30.0 if row["weight_gain_pounds"] is None else row["weight_gain_pounds"]
        return float(0.25 * row["gestation_weeks"] + 0.015625 * gain - 3.0)

    return formula


def weight_answer(weeks: float, gain: float, offset: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        gained = inputs["weight_gain_pounds"]
        gained = tf.where(tf.math.is_nan(gained), 30.0, gained)
        return {"prediction": weeks * inputs["gestation_weeks"] + gain * gained + offset}

    return answer


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory, births: list[Row]) -> Case:
    """Birth weight, predicted as weeks / 4 + gain / 64 - 3."""
    root = tmp_path_factory.mktemp("regression")
    problem = Problem(
        "natality",
        "record_id",
        Numeric("weight_pounds"),
        FEATURES,
        gate=Gate("root_mean_squared_error", at_most=1.3, slices=["plurality", "mother_age"]),
    )
    examples = write_examples(root / "examples", problem, births)
    model = write_model(root / "model", problem, weight_answer(0.25, 0.015625, -3.0))
    return Case(problem, examples, model, births[::10])


@pytest.fixture(scope="session")
def worse_champion(tmp_path_factory: pytest.TempPathFactory, regression: Case) -> Path:
    """A Model that is half a pound heavier than the regression case's."""
    folder = tmp_path_factory.mktemp("champion") / "model"
    return write_model(folder, regression.problem, weight_answer(0.25, 0.015625, -2.5), version="c" * 16)


@pytest.fixture(scope="session")
def early_probability() -> Callable[[Row], float]:
    """The binary model's formula: 1 at 28 weeks, 0 at 44, and a straight line between."""
    return lambda row: float(np.clip((44.0 - row["gestation_weeks"]) / 16, 0, 1))


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory, births: list[Row]) -> Case:
    """Whether a birth weighs less than 6 pounds."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("binary")
    rows = [{**row, "light": "yes" if row["weight_pounds"] < 6 else "no"} for row in births]
    problem = Problem(
        "light-births",
        "record_id",
        Categorical("light", vocabulary=["no", "yes"]),
        FEATURES,
        gate=Gate("auc", at_least=0.7, slices=["mother_race"], minimum_slice_size=10),
    )

    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        positive = tf.clip_by_value((44.0 - inputs["gestation_weeks"]) * 0.0625, 0.0, 1.0)
        both = tf.stack([1.0 - positive, positive], axis=1)
        return class_answer(problem, both, tf.cast(positive >= 0.5, tf.int32))

    examples = write_examples(root / "examples", problem, rows)
    return Case(problem, examples, write_model(root / "model", problem, answer), rows[::10])


@pytest.fixture(scope="session")
def multiclass(tmp_path_factory: pytest.TempPathFactory, births: list[Row]) -> Case:
    """Whether a birth is light, usual or heavy: usual unless early, and never heavy."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("multiclass")

    def kind(weight: float) -> str:
        return "light" if weight < 6 else "usual" if weight < 8.5 else "heavy"

    rows = [{**row, "size": kind(row["weight_pounds"])} for row in births]
    problem = Problem("sizes", "record_id", Categorical("size", vocabulary=["light", "usual", "heavy"]), FEATURES)

    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        early = inputs["gestation_weeks"] < 37
        probabilities = tf.where(early[:, None], [[0.625, 0.25, 0.125]], [[0.125, 0.625, 0.25]])
        return class_answer(problem, probabilities, tf.where(early, 0, 1))

    examples = write_examples(root / "examples", problem, rows)
    return Case(problem, examples, write_model(root / "model", problem, answer), rows[::10])


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    """Makes a case of a folder, a problem, rows and a formula."""

    def make(folder: Path, problem: Problem, rows: list[Row], answer: Callable[[Row], Row]) -> Case:
        examples = write_examples(folder / "examples", problem, rows)
        return Case(problem, examples, write_model(folder / "model", problem, answer), rows[::10])

    return make


@pytest.fixture
def damaged(regression: Case, tmp_path: Path) -> Case:
    """A copy of the regression case that a test may spoil."""
    shutil.copytree(regression.examples, tmp_path / "examples")
    shutil.copytree(regression.model, tmp_path / "model")
    return dataclasses.replace(regression, examples=tmp_path / "examples", model=tmp_path / "model")
