"""Derived columns of a Problem: what of the table they take, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from headrace import Categorical, Numeric, Problem
from headrace.core.artifacts.examples import Schema
from headrace.core.errors import ProblemError
from headrace.expressions import col, hour, log1p, timestamp


def problem(**changes: Any) -> Problem:
    declared: dict[str, Any] = {
        "name": "taxi",
        "key": "id",
        "label": Categorical("big_tip", vocabulary=["false", "true"]),
        "features": [Categorical("hour"), Numeric("log_fare"), Numeric("miles"), Numeric("twice", optional=True)],
        "derive": {
            "big_tip": col("tips") > 0.2 * col("fare"),
            "hour": hour("start", zone="America/Chicago"),
            "log_fare": log1p("fare"),
            "twice": col("miles") * 2 + col("extras").fill_missing(0) + col("tolls"),
        },
        **changes,
    }
    return Problem(**declared)


def test_what_is_read_stored_and_served() -> None:
    derivation = problem().derivation
    names = {what: [column.name for column in getattr(derivation, what)] for what in ("served", "read")}
    assert names == {
        "served": ["miles", "extras", "fare", "start", "tolls"],
        "read": ["tips", "miles", "extras", "fare", "start", "tolls"],
    }
    numbers, texts = ("log_fare", "miles", "twice"), ("hour", "extras", "fare", "start", "tolls", "miles.exact")
    assert derivation.stored == dict.fromkeys(numbers, "float_list") | dict.fromkeys(texts, "bytes_list")
    assert derivation.exact == {"miles": "miles.exact"}
    # Without fare or start a feature that must be there is missing; twice may be.
    assert {column.name: column.optional for column in derivation.inputs} == {
        "extras": True,
        "fare": False,
        "start": False,
        "tolls": True,
    }


def test_roles_in_the_schema() -> None:
    roles = {column.name: (column.kind, column.role) for column in Schema.of(problem()).columns}
    assert roles["hour"] == ("categorical", "derived")
    assert roles["miles"] == ("numeric", "feature")
    assert roles["start"] == ("categorical", "input")
    assert roles["big_tip"] == ("categorical", "label")
    assert "tips" not in roles


def test_a_declaration_survives_pickling_and_compares_by_value() -> None:
    one = problem()
    assert pickle.loads(pickle.dumps(one)) == one == problem()
    assert one != problem(derive={**one.derive, "hour": hour("start")})


def test_another_expression_is_another_schema() -> None:
    one = problem()
    assert one.schema_digest != problem(derive={**one.derive, "hour": hour("start")}).schema_digest


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"derive": [1]}, "derive is wrong"),
        ({"derive": {"a b": col("c") + 1}}, "the name of a derived column is wrong"),
        ({"derive": {"key": col("c") + 1}}, "the name of a derived column is wrong"),
        ({"derive": {"a": 1}}, "a derived column is not an expression"),
        ({"derive": {"id": col("c") + 1}}, "the key cannot be derived"),
        ({"derive": {"hour": col("hour") + 1}}, 'the derived column "hour" depends on itself'),
        ({"derive": {"hour": col("big_tip") == "true"}}, "a derived feature reads the label"),
        ({"derive": {"hour": col("id").lower()}}, "a derived feature reads the key"),
        ({"derive": {"twice": col("b") * 2, "hour": col("b") == "x"}},
         'the column "b" is read as a number and as text'),
        ({"derive": {"hour": col("miles").lower()}}, 'the column "miles" is declared Numeric, and read as text'),
        ({"derive": {"hour": col("fare") / 2}}, "a category cannot be derived from a number"),
        ({"derive": {"miles": timestamp("start")}}, "a number cannot be derived from a time"),
        ({"derive": {"miles": col("Mass (g)") / 1000}}, 'the column "Mass (g)" cannot be an input of a model'),
    ],
)  # fmt: skip
def test_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ProblemError) as raised:
        problem(**changes)
    assert raised.value.what == what
    assert "derive" in str(raised.value.where)


def test_a_label_may_not_be_read_through_another_column() -> None:
    derive = {**problem().derive, "tip_hour": col("big_tip") & (col("miles") > 1), "hour": col("tip_hour")}
    with pytest.raises(ProblemError, match="a derived feature reads the label"):
        problem(derive=derive)


def test_a_label_may_not_be_read_by_its_name_in_the_table() -> None:
    label = Categorical("tipped", column="tip", vocabulary=["no", "yes"])
    derive = {"hour": col("tip").lower()}
    with pytest.raises(ProblemError, match="a derived feature reads the label"):
        Problem("taxi", None, label, [Categorical("hour")], derive=derive)
    # A feature that is called so is what the expression reads.
    features = [Categorical("hour"), Categorical("tip", column="Tip of the day")]
    found = Problem("taxi", None, label, features, derive=derive).derivation
    assert [column.source_column for column in found.read] == ["tip", "Tip of the day"]


def test_a_derived_column_has_no_other_name_in_the_table() -> None:
    with pytest.raises(ProblemError, match="a derived column cannot also be a column of the table"):
        Problem("t", "id", Numeric("y"), [Numeric("x", column="X")], derive={"x": log1p("fare")})


def test_a_column_of_any_name_is_read_by_its_name_in_the_problem() -> None:
    derive = {"tons": col("Mass (g)") / 1e6}
    with pytest.raises(ProblemError, match=r'Read it by its name in the Problem: col\("mass"\)'):
        Problem("t", "id", Numeric("y"), [Numeric("tons"), Numeric("mass", column="Mass (g)")], derive=derive)
    with pytest.raises(ProblemError, match=r"Declare it under another name, Numeric\(\"x\", column='Mass \(g\)'\)"):
        Problem("t", "id", Numeric("y"), [Numeric("tons")], derive=derive)
