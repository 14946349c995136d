"""What a Problem accepts, and how it refuses the rest: with the field, what was expected and what came."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import ProblemError
from headrace.core.problem import METRICS, Categorical, Costs, Crossed, Gate, Numeric, Problem, Range, Splits, Training


def make(**changed: Any) -> Problem:
    declared: dict[str, Any] = {
        "name": "natality",
        "key": "id",
        "label": Numeric("weight"),
        "features": [Numeric("age", buckets=[20, 30]), Categorical("plurality"), Numeric("weeks")],
    }
    return Problem(**(declared | changed))


def test_columns_and_crosses_keep_their_order() -> None:
    problem = make(features=[Crossed("a", "b", hash_buckets=8), Categorical("a"), Categorical("b")])
    assert [f.name for f in problem.columns] == ["a", "b"]
    assert [c.name for c in problem.crosses] == ["a_x_b"]


@pytest.mark.parametrize(
    ("label", "task"),
    [
        (Numeric("y"), "regression"),
        (Categorical("y", vocabulary=["no", "yes"]), "binary"),
        (Categorical("y", vocabulary=["a", "b", "c"]), "multiclass"),
    ],
)
def test_the_label_decides_the_task(label: Numeric | Categorical, task: str) -> None:
    assert make(label=label).task == task


@pytest.mark.parametrize(
    ("changed", "field", "expected", "received"),
    [
        ({"features": [Categorical("a"), Crossed("a", "b", hash_buckets=8)]}, "Crossed('a', 'b')", "among a", '"b"'),
        ({"features": [Categorical("a"), Numeric("a")]}, "features", "each name once", '"a" twice'),
        ({"features": [Numeric("weight")]}, "features", "before the label is", '"weight"'),
        ({"features": [Numeric("id")]}, "key", "only identifies", '"id"'),
        ({"features": []}, "features", "one or more", "none"),
        ({"features": ["age"]}, "features", "Numeric, Categorical or Crossed", "'age'"),
        (
            {"features": [Numeric("a"), Categorical("b"), Crossed("a", "b", hash_buckets=8)]},
            "Crossed",
            "buckets=[...]",
            "no buckets",
        ),
        ({"gate": Gate("accuracy", at_least=0.9)}, "gate", "root_mean_squared_error", '"accuracy"'),
        (
            {"gate": Gate("r_squared", at_least=0.1, slices=["nowhere"])},
            "gate.slices",
            "age, plurality, weeks",
            '"nowhere"',
        ),
        ({"gate": Gate("r_squared", at_least=0.1, slices=["weeks"])}, "gate.slices", "buckets", "no buckets"),
        ({"name": "Natality births"}, "Problem", "lower-case", "'Natality births'"),
        ({"name": "../x"}, "Problem", "lower-case", "'../x'"),
        ({"label": Numeric("y", optional=True)}, "label", "optional=False", "True"),
        ({"label": Numeric("y", buckets=[1])}, "label", "Categorical", "buckets"),
        ({"label": Categorical("y")}, "label", "two values", "None"),
        ({"label": Categorical("y", vocabulary=["one"])}, "label", "two values", "['one']"),
        ({"splits": (0.8, 0.1, 0.1)}, "Problem", "a Splits", "(0.8, 0.1, 0.1)"),
        ({"quarantine_budget": 5}, "Problem", "between 0 and 1", "5"),
        ({"hyperparameters": {"layer": object()}}, "Problem", "JSON", "not JSON serializable"),
    ],
)
def test_a_wrong_problem_is_refused(changed: dict[str, Any], field: str, expected: str, received: str) -> None:
    with pytest.raises(ProblemError) as refused:
        make(**changed)
    error = refused.value
    assert field in str(error.where)
    assert expected in str(error.expected)
    assert received in str(error.received)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Numeric("a b"),
        lambda: Numeric("prediction"),
        lambda: Numeric("a", minimum=2, maximum=1),
        lambda: Numeric("a", minimum=math.nan),
        lambda: Numeric("a", buckets=[]),
        lambda: Numeric("a", buckets=[2, 2]),
        lambda: Numeric("a", buckets=[1, math.inf]),
        lambda: Categorical("a", vocabulary=[]),
        lambda: Categorical("a", vocabulary="abc"),
        lambda: Categorical("a", vocabulary=["x", "x"]),
        lambda: Categorical("a", vocabulary=["x"], hash_buckets=4),
        lambda: Categorical("a", embedding=0),
        lambda: Crossed("a", hash_buckets=4),
        lambda: Crossed("a", "a", hash_buckets=4),
        lambda: Crossed("a", "b", hash_buckets=1),
        lambda: Splits(train=0.8, eval=0.1, test=0.2),
        lambda: Splits(train=1.0, eval=0.0, test=0.0),
        lambda: Gate(at_least=0.9),
        lambda: Gate("mean_bias"),
        lambda: Gate("precision", beats_baseline=True),
        lambda: Gate("accuracy", beats_baseline=False),
        lambda: Gate("accuracy", beats_baseline="yes"),
        lambda: Gate("accuracy", slices=["plurality"]),
        lambda: Costs(false_positive=-1),
        lambda: Costs(0, 0),
        lambda: make(threshold=0.3),
        lambda: make(costs=Costs()),
        lambda: make(threshold=1.0),
        lambda: make(no_rows="ignore"),
        lambda: Gate("accuracy", at_least=0.9, at_most=0.1),
        lambda: Gate("accuracy", at_least=math.inf),
        lambda: Gate("accuracy", at_least=0.9, slices="plurality"),
        lambda: Gate("accuracy", champion_tolerance=-0.1),
        lambda: Training(batch_size=0),
        lambda: Training(batch_size=True),
        lambda: Training(learning_rate=0),
        lambda: Training(dropout=1.0),
        lambda: Training(hidden_units=[8, 0]),
        lambda: Training(hidden_units=8),
        lambda: Numeric("a", optional="no"),
        lambda: Numeric("a", optional=math.inf),
        lambda: Numeric("a", double=1),
        lambda: Numeric("a", maximum=10**400),
        lambda: Numeric("a", buckets=b"ab"),
        lambda: Categorical("a", optional=None),
        lambda: Categorical("a", vocabulary=7),
        lambda: Categorical("a", vocabulary={"x", "y"}),
        lambda: Categorical("a", vocabulary={"x": 1, "y": 2}),
        lambda: Categorical("a", vocabulary=iter(["x", "y"])),
        lambda: Categorical("a", max_vocabulary=None),
        lambda: Gate(["accuracy"], at_least=0.9),
        lambda: Gate("accuracy", at_least=0.9, slices=None),
        lambda: Gate("accuracy", at_least=0.9, slices=[1]),
        lambda: Gate("accuracy", beats_baseline=1),
        lambda: Range(1, 2, log="yes"),
        lambda: make(hyperparameters={"rate": math.nan}),
        lambda: make(hyperparameters={1: 2}),
        lambda: make(hyperparameters=[("rate", 1)]),
        lambda: make(quarantine_budget=10**400),
        lambda: make(prepared_by=math.nan),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Any) -> None:
    with pytest.raises(ProblemError) as refused:
        declare()
    assert refused.value.expected
    assert refused.value.received


@pytest.mark.parametrize("vocabulary", [("x", "y"), np.array(["x", "y"]), np.array(["x", "y"], object)])
def test_a_list_may_be_an_array(vocabulary: Any) -> None:
    assert Categorical("a", vocabulary=vocabulary) == Categorical("a", vocabulary=["x", "y"])
    assert Numeric("a", buckets=np.array([1.5, 2.5])) == Numeric("a", buckets=[1.5, 2.5])


@given(st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_splits_accept_exactly_the_shares_that_sum_to_one(train: float, rest: float) -> None:
    tuning = (1 - train) * rest
    test = 1 - train - tuning
    if 0 < test < 1:
        assert Splits(train=train, eval=tuning, test=test).test == test
        with pytest.raises(ProblemError):
            Splits(train=train, eval=tuning, test=min(test + 0.01, 0.999999))


def test_schema_digest_follows_what_preprocessing_reads_and_nothing_else() -> None:
    problem = make()
    assert make(gate=Gate("r_squared", at_least=0.1)).schema_digest == problem.schema_digest
    assert make(training=Training(epochs=1)).schema_digest == problem.schema_digest
    assert make(quarantine_budget=0.5).schema_digest != problem.schema_digest
    assert make(splits=Splits(0.6, 0.2, 0.2)).schema_digest != problem.schema_digest


def test_every_task_has_metrics() -> None:
    assert set(METRICS) == {"regression", "binary", "multiclass"}
    assert all(METRICS.values())


def test_without_a_gate_the_baseline_is_the_gate() -> None:
    problem = make()
    assert problem.gate == Gate()
    assert Gate().beats_baseline
    assert not Gate("accuracy", at_least=0.9).beats_baseline
    assert not Gate("mean_bias", champion_tolerance=0.1).beats_baseline
    assert make(gate=None).gate is None
    assert problem.to_json()["gate"]["beats_baseline"] is True
    assert problem.evaluation_digest != make(gate=None).evaluation_digest
    assert problem.training_digest == make(gate=None).training_digest


def test_the_metric_of_the_default_gate_follows_from_the_task_and_the_threshold() -> None:
    found = [Gate().of("regression"), Gate().of("binary"), Gate().of("binary", 0.3), Gate().of("multiclass")]
    assert [gate.metric for gate in found] == ["root_mean_squared_error", "accuracy", "auc", "accuracy"]
    assert Gate("log_loss").of("binary", 0.3).metric == "log_loss"


def test_a_threshold_changes_the_training_and_costs_only_the_evaluation() -> None:
    label = Categorical("y", vocabulary=["no", "yes"])
    plain, at_a_third, costly = (
        make(label=label),
        make(label=label, threshold=0.3),
        make(label=label, costs=Costs(1, 5)),
    )
    assert plain.schema_digest == at_a_third.schema_digest == costly.schema_digest
    assert plain.training_digest == costly.training_digest != at_a_third.training_digest
    assert len({each.evaluation_digest for each in (plain, at_a_third, costly)}) == 3
    assert costly.trained == plain.trained


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Training(hidden_units=[10**9]), "hidden_units"),
        (lambda: Training(hidden_units=[4] * 5_000), "hidden_units"),
        (lambda: Training(batch_size=10**30), "batch_size"),
        (lambda: Training(cross_layers=10**5), "cross_layers"),
        (lambda: Training(seed=2**63), "seed"),
        (lambda: Training(steps=10**30), "steps"),
        (lambda: Categorical("c", hash_buckets=2**31), "hash_buckets"),
        (lambda: Categorical("c", embedding=10**10), "embedding"),
        (lambda: Categorical("c", max_vocabulary=10**30), "max_vocabulary"),
        (lambda: Crossed("a", "b", hash_buckets=10**30), "hash_buckets"),
    ],
)
def test_a_size_that_no_machine_has(make: Callable[[], object], name: str) -> None:
    with pytest.raises(ProblemError, match=f"{name} is wrong"):
        make()


@pytest.mark.parametrize("part", ["vocabulary", "missing", "hyperparameters", "column"])
def test_half_of_a_surrogate_pair_is_in_no_file(part: str) -> None:
    odd = "\ud800"
    label = Categorical("y", vocabulary=["a", odd if part == "vocabulary" else "b"])
    features = [Numeric("x", column=odd if part == "column" else None)]
    missing = [odd] if part == "missing" else []
    hyperparameters = {"a": [odd]} if part == "hyperparameters" else {}
    with pytest.raises(ProblemError, match="a text is not valid Unicode"):
        Problem("n", "id", label, features, missing=missing, hyperparameters=hyperparameters)
