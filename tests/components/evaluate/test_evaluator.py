"""Evaluation end to end: Examples and a Model in, an Evaluation that follows from the rows and the formula out."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as peer
from support.examples_manifest import without_split
from support.users_files import check_users_files_stay

from headrace.components.evaluate import evaluator
from headrace.components.evaluate.evaluator import EvaluateConfig
from headrace.core.artifacts.kinds import EVALUATION
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.problem import METRICS, Categorical, Gate, Numeric, Problem

STRICT = Gate("root_mean_squared_error", at_most=1e-6)
# A Case of conftest.py, which is no module that tests can import.
Case = Any
Row = dict[str, Any]


def test_regression(regression: Case, predicted_weight: Callable[[Row], float], tmp_path: Path) -> None:
    result, found = regression.run(tmp_path / "evaluation", identity="f" * 16)
    label = np.array([np.float32(row["weight_pounds"]) for row in regression.rows], float)
    error = np.array([predicted_weight(row) for row in regression.rows]) - label
    expected = {
        "root_mean_squared_error": np.sqrt((error**2).mean()),
        "mean_squared_error": (error**2).mean(),
        "mean_absolute_error": np.abs(error).mean(),
        "mean_bias": error.mean(),
        "r_squared": 1 - (error**2).sum() / ((label - label.mean()) ** 2).sum(),
    }
    assert result.metrics == pytest.approx(expected, rel=1e-6)
    assert result.rows == found["rows"] == len(regression.rows) == 145
    assert result.model_version == found["model_version"] == "a" * 16
    assert {name: m["value"] for name, m in found["metrics"].items()} == result.metrics
    assert all(m["low"] < m["value"] < m["high"] for m in found["metrics"].values())
    assert (found["format"], found["identity"], found["task"], found["confidence"]) == (1, "f" * 16, "regression", 0.95)
    assert found["examples_identity"] == "e" * 16

    twins = [i for i, row in enumerate(regression.rows) if row["plurality"] == "twins"]
    of_twins = next(s for s in found["slices"] if (s["feature"], s["value"]) == ("plurality", "twins"))
    assert of_twins["rows"] == len(twins)
    assert of_twins["metrics"]["mean_bias"]["value"] == pytest.approx(error[twins].mean(), rel=1e-6)
    residuals = next(s for s in found["residuals_by_slice"] if (s["feature"], s["value"]) == ("plurality", "twins"))
    assert residuals["quantiles"] == pytest.approx(np.quantile(-error[twins], [0.05, 0.25, 0.5, 0.75, 0.95]).tolist())

    drawn = found["curves"]["predicted_actual"]
    assert drawn["key"] == [row["record_id"] for row in regression.rows]
    assert drawn["actual"] == pytest.approx(label.tolist())
    assert drawn["predicted"] == pytest.approx((error + label).tolist())


def test_another_gate_reads_the_stored_measurement(
    regression: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = str(tmp_path / "measurements" / "m.bin")
    _, first = regression.run(tmp_path / "first", measurement=stored)
    with monkeypatch.context() as patched:
        patched.setattr(evaluator, "predict", lambda *_: pytest.fail("the model predicted again"))
        result, second = regression.run(tmp_path / "second", measurement=stored)
        refused, third = regression.run(tmp_path / "third", measurement=stored, problem=regression.with_gate(STRICT))
    assert second == first
    assert result.blessed
    assert not refused.blessed
    of_gate = ("gate", "checks", "reasons", "blessed", "warnings", "slices", "residuals_by_slice")
    assert {name: third[name] for name in third if name not in of_gate} == {
        name: first[name] for name in first if name not in of_gate
    }


def test_the_baseline_is_the_mean_of_the_train_labels(regression: Case, births: list[Row], tmp_path: Path) -> None:
    _, found = regression.run(tmp_path / "evaluation")
    train = np.mean([row["weight_pounds"] for i, row in enumerate(births) if i % 10 > 1])
    error = train - np.array([row["weight_pounds"] for row in regression.rows])
    assert found["baseline"]["mean_bias"] == pytest.approx(error.mean())
    assert found["baseline"]["root_mean_squared_error"] == pytest.approx(np.sqrt((error**2).mean()))


def test_slices_of_the_gate_first_then_those_for_the_report(regression: Case, tmp_path: Path) -> None:
    _, found = regression.run(tmp_path / "evaluation")
    features = list(dict.fromkeys(s["feature"] for s in found["slices"]))
    assert features == ["plurality", "mother_age", "mother_race"]
    ages = [s["value"] for s in found["slices"] if s["feature"] == "mother_age"]
    assert ages == ["< 20", "[20, 25)", "[25, 30)", "[30, 35)", "[35, 40)", ">= 40"]
    for feature in features:
        assert sum(s["rows"] for s in found["slices"] if s["feature"] == feature) == 145
    assert {check["where"].partition("=")[0] for check in found["checks"]} == {"all rows", "plurality", "mother_age"}


def test_binary(binary: Case, early_probability: Callable[[Row], float], tmp_path: Path) -> None:
    result, found = binary.run(tmp_path / "evaluation")
    label = np.array([row["light"] == "yes" for row in binary.rows], int)
    score = np.array([early_probability(row) for row in binary.rows])
    prediction = (score >= 0.5).astype(int)
    assert result.metrics == pytest.approx(
        {
            "accuracy": peer.accuracy_score(label, prediction),
            "auc": peer.roc_auc_score(label, score),
            "auc_pr": peer.average_precision_score(label, score),
            "log_loss": peer.log_loss(label, np.clip(score, 2.0**-23, 1 - 2.0**-23)),
            "brier_score": peer.brier_score_loss(label, score),
            "precision": peer.precision_score(label, prediction),
            "recall": peer.recall_score(label, prediction),
            "f1_score": peer.f1_score(label, prediction),
        },
        rel=1e-6,
    )
    assert found["curves"]["confusion_matrix"]["classes"] == ["no", "yes"]
    assert found["curves"]["confusion_matrix"]["counts"] == peer.confusion_matrix(label, prediction).tolist()
    assert set(found["curves"]) == {"confusion_matrix", "calibration", "roc", "precision_recall"}
    assert "residuals_by_slice" not in found
    assert found["baseline"]["auc"] == 0.5


def test_multiclass(multiclass: Case, tmp_path: Path) -> None:
    result, found = multiclass.run(tmp_path / "evaluation")
    order = ["light", "usual", "heavy"]
    label = [order.index(row["size"]) for row in multiclass.rows]
    early = np.array([row["gestation_weeks"] < 37 for row in multiclass.rows])
    prediction = np.where(early, 0, 1)
    probability = np.where(early[:, None], [[0.625, 0.25, 0.125]], [[0.125, 0.625, 0.25]])
    assert result.metrics == pytest.approx(
        {
            "accuracy": peer.accuracy_score(label, prediction),
            "log_loss": peer.log_loss(label, probability),
            "macro_precision": peer.precision_score(label, prediction, average="macro", zero_division=0),
            "macro_recall": peer.recall_score(label, prediction, average="macro"),
            "macro_f1_score": peer.f1_score(label, prediction, average="macro"),
        },
        rel=1e-6,
    )
    assert list(found["metrics"]) == list(METRICS["multiclass"])
    assert found["curves"]["confusion_matrix"]["counts"] == peer.confusion_matrix(label, prediction).tolist()
    assert (found["gate"]["metric"], found["gate"]["beats_baseline"]) == ("accuracy", True)
    (check,) = found["checks"]
    assert (check["where"], check["measured"]) == ("all rows", result.metrics["accuracy"])


def test_a_problem_without_a_gate_refuses_a_model_that_does_not_beat_the_baseline(
    case_of: Callable[..., Case], tmp_path: Path
) -> None:
    problem = Problem(name="noise", key="id", label=Numeric("y"), features=[Numeric("x")])
    rows = [{"id": str(i), "x": float(i % 7), "y": float((i * 37) % 100)} for i in range(1000)]
    case = case_of(tmp_path, problem, rows, lambda inputs: {"prediction": inputs["x"] * 0 + 49.0})
    result, found = case.run(tmp_path / "evaluation")
    assert not result.blessed
    (reason,) = found["reasons"]
    assert "the mean of the train labels" in reason
    assert reason.endswith("on 100 test rows: not clearly better, failed.")
    ungated, found = case.run(tmp_path / "ungated", problem=case.with_gate(None))
    assert ungated.blessed
    assert (found["gate"], found["checks"]) == (None, [])
    assert found["reasons"] == ["Ungated: the problem declares gate=None, so every model is blessed."]


def test_the_improvement_has_an_interval_of_paired_resamples(regression: Case, tmp_path: Path) -> None:
    """The difference is less uncertain than both metrics: the same rows are in both."""
    result, found = regression.run(tmp_path / "evaluation", problem=regression.with_gate(Gate()))
    assert result.blessed
    (check,), metric = found["checks"], found["metrics"]["root_mean_squared_error"]
    assert check["bound"] == f"better than the baseline's {found['baseline']['root_mean_squared_error']:.4g}"
    low, high = (float(word) for word in re.findall(r"difference is (\S+) to (\S+) on", found["reasons"][0])[0])
    assert low <= metric["value"] - found["baseline"]["root_mean_squared_error"] <= high < 0


def test_the_gate_decides_and_says_why(regression: Case, tmp_path: Path) -> None:
    refused, found = regression.run(
        tmp_path / "refused", problem=regression.with_gate(Gate("root_mean_squared_error", at_most=0.5))
    )
    assert not refused.blessed
    assert found["blessed"] is False
    assert found["gate"]["at_most"] == 0.5
    value = refused.metrics["root_mean_squared_error"]
    assert refused.reasons == (f"root_mean_squared_error on all rows is {value:.4g}, above the 0.5 allowed: failed.",)
    assert found["checks"] == [
        {
            "where": "all rows",
            "metric": "root_mean_squared_error",
            "measured": value,
            "bound": "at most 0.5",
            "passed": False,
        }
    ]
    blessed, _ = regression.run(
        tmp_path / "blessed", problem=regression.with_gate(Gate("root_mean_squared_error", at_most=5))
    )
    assert blessed.blessed


def test_the_champion_is_measured_on_the_same_rows(regression: Case, worse_champion: Path, tmp_path: Path) -> None:
    gate = Gate("mean_squared_error", champion_tolerance=0.0, slices=["plurality"])
    result, found = regression.run(
        tmp_path / "evaluation", problem=regression.with_gate(gate), champion=str(worse_champion)
    )
    assert found["champion"]["model_version"] == "c" * 16
    champion = found["champion"]["metrics"]
    assert champion["mean_bias"] == pytest.approx(result.metrics["mean_bias"] + 0.5, rel=1e-6)
    assert result.blessed == (result.metrics["mean_squared_error"] <= champion["mean_squared_error"])
    assert [check["where"] for check in found["checks"]][:3] == ["all rows", "all rows", "plurality=single"]

    turned, _ = regression.run(
        tmp_path / "turned",
        problem=regression.with_gate(gate),
        model=str(worse_champion),
        champion=str(regression.model),
    )
    assert turned.blessed is not result.blessed
    _, alone = regression.run(tmp_path / "alone", problem=regression.with_gate(gate))
    assert alone["champion"] is None
    assert [check["passed"] for check in alone["checks"] if check["where"] == "all rows"] == [True, None]


def test_a_model_is_no_worse_than_itself(binary: Case, tmp_path: Path) -> None:
    gate = Gate("log_loss", champion_tolerance=0.0, slices=["mother_race", "plurality"])
    result, _ = binary.run(tmp_path / "evaluation", problem=binary.with_gate(gate), champion=str(binary.model))
    assert result.blessed


def test_the_same_input_and_seed_give_the_same_bytes(binary: Case, tmp_path: Path) -> None:
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        binary.run(tmp_path / name, seed=seed)
        texts.append((tmp_path / name / "evaluation.json").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_batches_change_nothing(multiclass: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from headrace.components.evaluate import predict

    _, whole = multiclass.run(tmp_path / "whole")
    monkeypatch.setattr(predict, "BATCH_ROWS", 7)
    _, batched = multiclass.run(tmp_path / "batched")
    assert batched == whole


def test_progress_is_reported(regression: Case, tmp_path: Path) -> None:
    from headrace.components.evaluate.evaluator import evaluate
    from headrace.core.problem.file import ProblemFile

    said: list[tuple[str, int | None, int | None]] = []

    def report(message: str, *, done: int | None = None, total: int | None = None, **_: object) -> None:
        said.append((message, done, total))

    config = EvaluateConfig(str(regression.examples), str(regression.model), str(tmp_path / "out"), resamples=10)
    evaluate(ProblemFile(regression.problem, "problem.py", "", "", None), config, report)
    assert ("predicting the test split", 145, 145) in said
    assert said[0][0] == "loading TensorFlow and the model"
    assert said[-1][0] in ("blessed", "refused by the gate")


@pytest.fixture(scope="session")
def missing_values(tmp_path_factory: pytest.TempPathFactory, case_of: Callable[..., Case]) -> Case:
    """Ten test rows; the model says 1 for a missing size and 10 for a missing kind, and else 0."""
    import tensorflow as tf

    problem = Problem(
        "gaps",
        "id",
        Numeric("y"),
        [Numeric("size", buckets=[5], optional=True), Categorical("kind", optional=True)],
        gate=Gate("mean_bias", at_most=100, slices=["kind", "size"], minimum_slice_size=2),
    )
    rows = [
        {"id": i, "y": 0.0, "size": None if i % 20 == 0 else 5.0, "kind": None if i % 30 == 0 else "k"}
        for i in range(100)
    ]

    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        gaps = tf.cast(tf.math.is_nan(inputs["size"]), tf.float32) + 10.0 * tf.cast(inputs["kind"] == "", tf.float32)
        return {"prediction": gaps}

    return case_of(tmp_path_factory.mktemp("gaps"), problem, rows, answer)


def test_missing_values_reach_the_model_and_have_a_slice(missing_values: Case, tmp_path: Path) -> None:
    result, found = missing_values.run(tmp_path / "evaluation")
    # Of keys 0, 10, ..., 90: no size at 0, 20, 40, 60, 80; no kind at 0, 30, 60, 90.
    assert result.metrics["mean_bias"] == pytest.approx((5 * 1 + 4 * 10) / 10)
    slices = {(s["feature"], s["value"]): (s["rows"], s["metrics"]["mean_bias"]["value"]) for s in found["slices"]}
    assert slices == {
        ("kind", "k"): (6, pytest.approx(3 / 6)),
        ("kind", "(missing)"): (4, pytest.approx(42 / 4)),
        ("size", ">= 5"): (5, pytest.approx(20 / 5)),
        ("size", "(missing)"): (5, pytest.approx(25 / 5)),
    }
    # All labels are 0: nothing is there to explain.
    assert found["metrics"]["r_squared"] == {"value": None, "low": None, "high": None}
    assert result.blessed


def test_an_undefined_metric_is_refused(missing_values: Case, tmp_path: Path) -> None:
    problem = missing_values.with_gate(Gate("r_squared", at_least=0.1))
    result, _ = missing_values.run(tmp_path / "evaluation", problem=problem)
    assert not result.blessed
    assert result.reasons == ("r_squared on all rows is undefined; at least 0.1: failed.",)


def nothing_was_written(folder: Path) -> bool:
    return not any(entry.name.startswith((".evaluation", "evaluation")) for entry in folder.iterdir())


def spoil_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def other_label(case: Case) -> None:
    spoil_json(case.model / "problem.json", label={"kind": "Numeric", "name": "length"})


def other_schema(case: Case) -> None:
    columns = json.loads((case.examples / "schema.json").read_text())["columns"]
    kinds = [{**c, "kind": "categorical"} if c["name"] == "mother_age" else c for c in columns]
    spoil_json(case.examples / "schema.json", columns=kinds)


def empty_test_split(case: Case) -> None:
    without_split(case.examples, "test")


def fewer_rows(case: Case) -> None:
    splits = json.loads((case.examples / "manifest.json").read_text())["splits"]
    splits["test"]["rows"] = 146
    spoil_json(case.examples / "manifest.json", splits=splits)


def damaged_shard(case: Case) -> None:
    shard = case.examples / "test" / "part-00001-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[500] ^= 1
    shard.write_bytes(content)


def longer_shard(case: Case) -> None:
    """A shard with more whole records than the manifest counts."""
    shard = case.examples / "test" / "part-00001-of-00002.tfrecord"
    shard.write_bytes(2 * shard.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "kind", "what", "where"),
    [
        (lambda c: shutil.rmtree(c.examples), UsageError, "this folder holds no Examples", "examples"),
        (lambda c: (c.examples / "manifest.json").unlink(), UsageError, "this folder holds no Examples", "examples"),
        (
            lambda c: spoil_json(c.examples / "manifest.json", schema_digest="0" * 64),
            DataError,
            "another declaration",
            "manifest.json",
        ),
        (other_schema, DataError, 'do not fit the problem: column "mother_age"', "schema.json"),
        (
            lambda c: spoil_json(c.examples / "statistics.json", columns={}),
            DataError,
            'do not cover the label "weight_pounds"',
            "statistics.json",
        ),
        (empty_test_split, DataError, "the test split is empty", "examples"),
        (
            lambda c: (c.examples / "manifest.json").write_text("{"),
            DataError,
            "is not valid JSON",
            "manifest.json",
        ),
        (lambda c: shutil.rmtree(c.model), UsageError, "this folder holds no Model", "model"),
        (lambda c: (c.model / "training.json").unlink(), UsageError, "this folder holds no Model", "model"),
        (lambda c: shutil.rmtree(c.model / "saved_model"), DataError, "holds no SavedModel", "saved_model"),
        (
            lambda c: (c.model / "saved_model" / "saved_model.pb").write_bytes(b"nonsense"),
            DataError,
            "cannot be loaded",
            "saved_model",
        ),
        (other_label, DataError, "predicts another label", "problem.json"),
        (
            lambda c: (c.examples / "test" / "part-00001-of-00002.tfrecord").unlink(),
            DataError,
            "a shard is missing",
            "part-00001",
        ),
        (damaged_shard, DataError, "a shard cannot be read", "examples"),
        (longer_shard, DataError, "a shard is damaged", "part-00001"),
        (fewer_rows, DataError, "the manifest contradicts itself", "manifest.json"),
    ],
)
def test_artifacts_that_do_not_fit(
    spoil: Callable[[Case], Any], kind: type[HeadraceError], what: str, where: str, damaged: Case, tmp_path: Path
) -> None:
    spoil(damaged)
    with pytest.raises(kind) as caught:
        damaged.run(tmp_path / "evaluation")
    assert what in caught.value.what
    assert where in str(caught.value.where)
    assert nothing_was_written(tmp_path)


def test_a_champion_that_does_not_fit(damaged: Case, worse_champion: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"champion .*nowhere: this folder holds no Model"):
        damaged.run(tmp_path / "evaluation", champion=str(tmp_path / "nowhere"))
    shutil.copytree(worse_champion, tmp_path / "champion")
    spoil_json(tmp_path / "champion" / "problem.json", label={"kind": "Numeric", "name": "length"})
    with pytest.raises(DataError, match="the champion predicts another label") as caught:
        damaged.run(tmp_path / "evaluation", champion=str(tmp_path / "champion"))
    assert caught.value.fix == "Leave the champion out"


SMALL = Problem("small", "id", Numeric("y"), [Numeric("x"), Categorical("kind")])
SMALL_CLASSES = Problem("small", "id", Categorical("y", vocabulary=["a", "b", "c"]), [Numeric("x")])


def rows_of(problem: Problem, y: Any) -> list[Row]:
    return [{"id": f"row-{i}", "y": y, "x": float(i), "kind": "k"} for i in range(30)]


def divided_by_zero(inputs: Row) -> Row:
    return {"prediction": 1.0 / (inputs["x"] - 10.0)}


def logits(inputs: Row) -> Row:
    import tensorflow as tf

    three = tf.stack([inputs["x"], inputs["x"], inputs["x"]], axis=1)
    return {"prediction": tf.fill(tf.shape(inputs["x"]), "a"), "probabilities": three}


def two_classes(inputs: Row) -> Row:
    import tensorflow as tf

    both = tf.stack([inputs["x"] * 0 + 0.5, inputs["x"] * 0 + 0.5], axis=1)
    return {"prediction": tf.fill(tf.shape(inputs["x"]), "a"), "probabilities": both}


def unknown_class(inputs: Row) -> Row:
    import tensorflow as tf

    third = inputs["x"] * 0 + 1 / 3
    return {"prediction": tf.fill(tf.shape(third), "d"), "probabilities": tf.stack([third] * 3, axis=1)}


def no_prediction(inputs: Row) -> Row:
    return {"score": inputs["x"]}


def other_key(inputs: Row) -> Row:
    import tensorflow as tf

    return {"prediction": inputs["x"], "key": tf.reverse(inputs["key"], [0])}


@pytest.mark.parametrize(
    ("problem", "answer", "kind", "what", "received"),
    [
        (SMALL, divided_by_zero, PlatformError, "answer for key row-10 is unusable (1 of 3 rows", "inf"),
        (SMALL, other_key, PlatformError, "returns another key", None),
        (SMALL, no_prediction, DataError, 'has no output "prediction"', "key, score"),
        (SMALL_CLASSES, logits, PlatformError, "answer for key row-0 is unusable", "[0. 0. 0.]"),
        (SMALL_CLASSES, two_classes, DataError, "a different number of classes", "shape [3, 2]"),
        (SMALL_CLASSES, unknown_class, PlatformError, "answer for key row-0 is unusable (3 of 3", "d"),
    ],
)
def test_answers_that_are_unusable(
    problem: Problem,
    answer: Callable[[Row], Row],
    kind: type[HeadraceError],
    what: str,
    received: str | None,
    case_of: Callable[..., Case],
    tmp_path: Path,
) -> None:
    case = case_of(tmp_path, problem, rows_of(problem, 1.0 if problem is SMALL else "b"), answer)
    with pytest.raises(kind) as caught:
        case.run(tmp_path / "evaluation")
    assert what in caught.value.what
    assert caught.value.received == received
    assert nothing_was_written(tmp_path)


def test_rows_that_do_not_match_the_problem(case_of: Callable[..., Case], tmp_path: Path) -> None:
    def half(inputs: Row) -> Row:
        return {"prediction": inputs["x"] / 2}

    rows = rows_of(SMALL, 1.0)
    rows[20]["y"] = None
    with pytest.raises(DataError, match='the row with key row-20 has no usable label "y"'):
        # The mean of the train labels is not asked for before the rows are read.
        case_of(tmp_path / "no-label", SMALL, rows, half).run(tmp_path / "evaluation")

    # The Examples hold numbers where the problem declares text.
    declared = dataclasses.replace(SMALL, features=[Numeric("x"), Numeric("kind")])
    rows = [{**row, "kind": 1.0} for row in rows_of(SMALL, 1.0)]
    case = case_of(tmp_path / "other-type", declared, rows, half)
    spoil_json(case.examples / "manifest.json", schema_digest=SMALL.schema_digest)
    columns = json.loads((case.examples / "schema.json").read_text())["columns"]
    kinds = [{**c, "kind": "categorical"} if c["name"] == "kind" else c for c in columns]
    spoil_json(case.examples / "schema.json", columns=kinds)
    with pytest.raises(DataError, match='needs an input "kind" that the Examples do not have'):
        case.run(tmp_path / "evaluation", problem=SMALL)
    text = case_of(tmp_path / "text", SMALL, rows_of(SMALL, 1.0), half)
    with pytest.raises(DataError, match="a row of the test split does not match the schema"):
        case.run(tmp_path / "evaluation", problem=SMALL, model=str(text.model))
    assert nothing_was_written(tmp_path)


def test_a_label_outside_of_the_vocabulary(case_of: Callable[..., Case], tmp_path: Path) -> None:
    rows = rows_of(SMALL_CLASSES, "b")
    rows[10]["y"] = "z"

    with pytest.raises(DataError, match="the row with key row-10 has no usable label") as caught:
        case_of(tmp_path, SMALL_CLASSES, rows, logits).run(tmp_path / "evaluation")
    assert caught.value.expected == "one of a, b, c"
    assert caught.value.received == "z"


def test_a_model_that_needs_more_than_the_examples_have(
    regression: Case, case_of: Callable[..., Case], tmp_path: Path
) -> None:
    wider = dataclasses.replace(
        regression.problem, features=[*regression.problem.features, Numeric("height")], gate=None
    )
    rows = [{**row, "height": 1.0} for row in regression.rows]
    case = case_of(tmp_path / "wider", wider, rows, lambda inputs: {"prediction": inputs["height"]})
    with pytest.raises(DataError, match='needs an input "height" that the Examples do not have') as caught:
        regression.run(tmp_path / "evaluation", champion=str(case.model))
    assert caught.value.expected == "a feature height of dtype float32"


def test_an_evaluation_replaces_the_one_before_and_a_failure_leaves_it(damaged: Case, tmp_path: Path) -> None:
    damaged.run(tmp_path / "evaluation", seed=1)
    before = (tmp_path / "evaluation" / "evaluation.json").read_bytes()
    damaged.run(tmp_path / "evaluation", seed=2)
    after = (tmp_path / "evaluation" / "evaluation.json").read_bytes()
    assert before != after
    check_users_files_stay(tmp_path / "evaluation", EVALUATION)
    damaged_shard(damaged)
    with pytest.raises(DataError):
        damaged.run(tmp_path / "evaluation", seed=3)
    assert (tmp_path / "evaluation" / "evaluation.json").read_bytes() == after
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["evaluation", "examples", "model"]


def test_an_output_that_cannot_be_written(regression: Case, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="the path cannot be written"):
        regression.run(tmp_path / "file" / "evaluation")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"examples": ""}, "examples is empty"),
        ({"output": ""}, "output is empty"),
        ({"confidence": 1.0}, "confidence is not valid"),
        ({"confidence": True}, "confidence is not valid"),
        ({"confidence": float("nan")}, "confidence is not valid"),
        ({"resamples": 0}, "resamples is wrong"),
        ({"resamples": 10_001}, "resamples is wrong"),
        ({"resamples": 2.5}, "resamples is wrong"),
        ({"seed": -1}, "seed is wrong"),
    ],
)
def test_a_configuration_checks_itself(options: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        EvaluateConfig(**{"examples": "e", "model": "m", "output": "o", **options})


def test_importing_the_room_imports_neither_tensorflow_nor_kfp() -> None:
    code = (
        "import sys; from headrace.components.evaluate import bootstrap, curves, evaluator, gate, predict, slices; "
        "print(sorted({'tensorflow', 'kfp', 'sklearn', 'apache_beam', 'pandas'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
