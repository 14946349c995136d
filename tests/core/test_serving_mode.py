"""The serving mode that a Problem or an endpoint's options declare: what fits together, and where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.core.errors import DataError, ProblemError
from headrace.core.problem import Categorical, Numeric, Problem, Serving
from headrace.core.saved_model.find import declared_serving
from headrace.core.serving_mode import serving_of


def make(serving: Any) -> Problem:
    features = [Numeric("age"), Categorical("plurality")]
    return Problem(name="natality", key="id", label=Numeric("weight"), features=features, serving=serving)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"mode": "fast"}, "the serving mode is wrong"),
        ({"mode": None}, "the serving mode is wrong"),
        ({"mode": "hybrid", "cache_rows": -1}, "cache_rows of serving is wrong"),
        ({"mode": "hybrid", "cache_rows": 1.5}, "cache_rows of serving is wrong"),
        ({"mode": "hybrid", "table": "tables/natality"}, "the table of serving is wrong"),
        ({"mode": "hybrid", "table": 7}, "the table of serving is wrong"),
        ({"table": "/tables"}, "dynamic serving has no table"),
        ({"cache_rows": 5}, "a cache belongs to hybrid serving"),
        ({"mode": "static", "table": "/tables", "cache_rows": 5}, "a cache belongs to hybrid serving"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ProblemError) as caught:
        Serving(**fields)
    assert caught.value.what == what


def test_a_problem_holds_a_serving() -> None:
    with pytest.raises(ProblemError, match="serving is wrong"):
        make("hybrid")


def test_a_model_carries_it_so_a_change_trains_again() -> None:
    declared = make(Serving("hybrid", "gs://b/tables", 100))
    assert declared.to_json()["serving"] == {"mode": "hybrid", "table": "gs://b/tables", "cache_rows": 100}
    assert "serving" not in make(None).to_json()
    assert declared.training_digest != make(None).training_digest
    assert declared.schema_digest == make(None).schema_digest
    assert declared.evaluation_digest == make(None).evaluation_digest


def test_it_is_read_from_the_problem_of_a_model() -> None:
    serving = Serving("static", "/tables")
    assert declared_serving(make(serving).to_json(), "problem.json") == serving
    assert declared_serving(make(None).to_json(), "problem.json") is None
    for damaged in ({"mode": "hybrid", "speed": 3}, {"mode": "fast"}, ["hybrid"], "hybrid"):
        with pytest.raises(DataError, match="the serving mode of the Problem is damaged"):
            declared_serving({"serving": damaged}, "problem.json")


def test_an_input_of_a_task_has_floats_for_numbers() -> None:
    assert serving_of({"mode": "hybrid", "table": "gs://b/t", "cache_rows": 100.0}) == Serving(
        "hybrid", "gs://b/t", 100
    )
    assert serving_of({}) is None


def test_a_container_gets_it_as_variables() -> None:
    assert Serving().variables == {"HEADRACE_MODE": "dynamic"}
    assert Serving("hybrid", "gs://b/t", 100).variables == {
        "HEADRACE_MODE": "hybrid",
        "HEADRACE_TABLE": "gs://b/t",
        "HEADRACE_FOLLOW": "30",
        "HEADRACE_CACHE": "100",
    }
