"""A run's name, and the parameters that it follows from."""

from __future__ import annotations

import pytest

from headrace.core.errors import UsageError
from headrace.pipelines.submission import parameters
from headrace.pipelines.submission.run_id import attempt, derive

SPEC = {"pipelineInfo": {"name": "p"}, "root": {}, "deploymentSpec": {"executors": {"a": {"image": "x@sha256:1"}}}}


def test_the_name_follows_from_pipeline_parameters_and_data() -> None:
    name = derive([SPEC], {"data_version": "1", "rows": 3}, "natality")
    assert name == derive([dict(SPEC)], {"rows": 3, "data_version": "1"}, "natality")
    assert name == derive([SPEC], {"rows": 3, "data_version": "1", "started": 5.0, "run_id": "x"}, "natality")
    other = {**SPEC, "deploymentSpec": {"executors": {"a": {"image": "x@sha256:2"}}}}
    others = {
        derive([SPEC], {"data_version": "2", "rows": 3}, "natality"),
        derive([SPEC], {"data_version": "1", "rows": 4}, "natality"),
        derive([other], {"data_version": "1", "rows": 3}, "natality"),
        derive([SPEC, {"platforms": {}}], {"data_version": "1", "rows": 3}, "natality"),
    }
    assert len(others - {name}) == 4


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("natality", "natality-"),
        ("Flight_Time (2024)", "flight-time-2024-"),
        ("2024", "run-2024-"),
        ("über", "ber-"),
        ("***", "run-"),
        ("x" * 200, "x" * 104 + "-"),
    ],
)
def test_every_platform_takes_the_name(given: str, start: str) -> None:
    import re

    name = derive([SPEC], {}, given)
    assert name.startswith(start)
    assert re.fullmatch(r"[a-z][-a-z0-9]{0,127}", attempt(name, 1000))


def test_attempts_are_numbered_from_the_second_on() -> None:
    assert [attempt("a", number) for number in (1, 2, 3)] == ["a", "a-2", "a-3"]


DEFINITIONS = {
    "text": {"parameterType": "STRING"},
    "count": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3.0},
    "share": {"parameterType": "NUMBER_DOUBLE"},
    "dry": {"parameterType": "BOOLEAN", "isOptional": True},
    "names": {"parameterType": "LIST", "defaultValue": []},
    "labels": {"parameterType": "STRUCT", "defaultValue": {}},
}


def test_values_have_the_types_that_the_pipeline_declares() -> None:
    given = ["text=a=b", "count=7", "share=0.5", "dry=True", 'names=["x"]', 'labels={"a": "b"}']
    assert parameters.parse(given, DEFINITIONS) == {
        "text": "a=b",
        "count": 7,
        "share": 0.5,
        "dry": True,
        "names": ["x"],
        "labels": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["text"], "NAME=VALUE"),
        (["text=a", "text=b"], "is repeated"),
        (["txt=a"], r"Did you mean 'text'\?"),
        (["count=1.5"], "a whole number"),
        (["share=half"], "a number"),
        (["dry=yes"], "true or false"),
        (["names={}"], "a JSON list"),
        (["labels=[]"], "a JSON object"),
        (["labels={"], "a JSON object"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_asked(given: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parameters.parse(given, DEFINITIONS)


def test_what_is_missing_is_named_with_the_option_that_gives_it() -> None:
    with pytest.raises(UsageError, match=r"text, share: .* Set --text FILE, --parameter share=\.\.\."):
        parameters.check_complete({}, DEFINITIONS, {"text": "--text FILE"})
    parameters.check_complete({"text": "", "share": 1.0}, DEFINITIONS, {})
