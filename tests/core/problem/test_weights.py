"""Sample weights and class weights: what may be declared, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.core.artifacts.examples import Schema
from headrace.core.errors import ProblemError
from headrace.core.expressions.functions import col, if_else
from headrace.core.problem import Categorical, Numeric, Problem, Training

LABEL = Categorical("bought", vocabulary=["no", "yes", "maybe"])


def problem(**declared: Any) -> Problem:
    return Problem(
        **{"name": "p", "key": "id", "label": LABEL, "features": [Numeric("x"), Categorical("c")], **declared}
    )


def test_a_name_is_a_column_of_numbers_of_0_or_more() -> None:
    assert problem(weight="w").weight_column == Numeric("w", minimum=0)
    assert problem(weight="w") == problem(weight=Numeric("w"))
    assert problem(weight=Numeric("w", minimum=1, maximum=9, column="Sample Weight")).targets == (
        LABEL,
        Numeric("w", minimum=1, maximum=9, column="Sample Weight"),
    )
    assert problem().targets == (LABEL,)


def test_the_weight_is_stored_and_not_served() -> None:
    declared = problem(weight="w")
    assert [column.name for column in declared.derivation.read] == ["bought", "w", "x", "c"]
    assert [column.name for column in declared.derivation.served] == ["x", "c"]
    roles = {column.name: (column.kind, column.role) for column in Schema.of(declared).columns}
    assert list(roles) == ["x", "c", "bought", "w", "id"]
    assert roles["w"] == ("numeric", "weight")


def test_a_weight_may_be_derived_from_any_column() -> None:
    declared = problem(
        weight="w",
        features=[Numeric("x"), Numeric("twice")],
        derive={
            "w": if_else(col("bought") == "yes", 5, 1) * col("x") * col("exposure"),
            "twice": 2 * col("exposure"),
        },
    )
    assert [column.name for column in declared.derivation.read] == ["bought", "x", "exposure"]
    assert [column.name for column in declared.derivation.served] == ["x", "exposure"]
    # The label is read as it is declared.
    assert declared.derivation.read[0] == LABEL
    by_label = problem(label=Numeric("y"), weight="w", derive={"y": col("w") * 2})
    assert by_label.derivation.read[0] == Numeric("w", minimum=0)


@pytest.mark.parametrize(
    ("declared", "what", "received"),
    [
        ({"weight": 3}, "weight is wrong", "3"),
        ({"weight": "two words"}, "the name is wrong", "'two words'"),
        ({"weight": Categorical("w")}, "weight is wrong", None),
        ({"weight": Numeric("w", optional=True)}, "weight is wrong", "optional=True"),
        ({"weight": Numeric("w", buckets=[1])}, "weight is wrong", "buckets=(1,)"),
        ({"weight": Numeric("w", minimum=-1)}, "weight is wrong", "minimum=-1"),
        ({"weight": "x"}, "the weight is a feature too", '"x"'),
        ({"weight": "bought"}, "the weight is the label too", '"bought"'),
        ({"weight": "id"}, "the weight is the key too", '"id"'),
        ({"weight": Numeric("w", column="c")}, "the weight is a feature too", '"c"'),
        ({"weight": "w", "derive": {"x": col("w") + 1}}, "a derived feature reads the weight", None),
        (
            {"weight": Numeric("w", column="u"), "derive": {"w": col("x")}},
            "a derived column cannot also be a column of the table",
            "both, column='u'",
        ),
    ],
)
def test_weights_that_are_refused(declared: dict[str, Any], what: str, received: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        problem(**declared)
    assert caught.value.what == what
    assert received is None or caught.value.received == received


@pytest.mark.parametrize("weights", ["balanced", {"yes": 5.0}, {"no": 0, "yes": 1.5, "maybe": 2}, None])
def test_class_weights(weights: Any) -> None:
    declared = problem(training=Training(class_weights=weights))
    assert declared.training.class_weights == weights
    assert declared.to_json()["training"]["class_weights"] == weights


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ("even", "class_weights are wrong"),
        ({}, "class_weights are wrong"),
        ({"yes": -1}, "class_weights are wrong"),
        ({"yes": float("nan")}, "class_weights are wrong"),
        ({"yes": float("inf")}, "class_weights are wrong"),
        ({"yes": "5"}, "class_weights are wrong"),
        ({1: 5.0}, "class_weights are wrong"),
        ([1, 5, 1], "class_weights are wrong"),
        ({"often": 2.0}, 'the label has no class "often"'),
        ({"no": 0, "yes": 0, "maybe": 0}, "no class has a weight"),
    ],
)
def test_class_weights_that_are_refused(weights: Any, what: str) -> None:
    with pytest.raises(ProblemError) as caught:
        problem(training=Training(class_weights=weights))
    assert caught.value.what == what


def test_class_weights_are_for_classes() -> None:
    with pytest.raises(ProblemError) as caught:
        problem(label=Numeric("y"), training=Training(class_weights="balanced"))
    assert caught.value.what == "class weights are for classes"


def test_without_weights_the_digests_are_what_they_were() -> None:
    plain = problem().to_json()
    for name in ("weight", "class_weights"):
        assert (plain | plain["training"])[name] is None
    assert problem().schema_digest != problem(weight="w").schema_digest
    assert problem().schema_digest == problem(training=Training(class_weights="balanced")).schema_digest
    assert problem().training_digest != problem(training=Training(class_weights="balanced")).training_digest
    assert problem().evaluation_digest == problem(training=Training(class_weights="balanced")).evaluation_digest
