"""JSON instances to columns."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.saved_model.json.columns import Interface, columns_from_inputs, columns_from_instances
from headrace.core.saved_model.json.inputs import InputFeature
from headrace.core.saved_model.json.rows import (
    NotFinitePrediction,
    check_finite,
    columns_from_outputs,
    rows_from_outputs,
)

INTERFACE = Interface(
    (
        InputFeature("mother_age", "numeric"),
        InputFeature("gestation_weeks", "numeric", optional=True),
        InputFeature("plurality", "categorical"),
        InputFeature("mother_smokes", "categorical", optional=True),
    ),
    takes_key=True,
    key_name="record_id",
)
ROW: dict[str, Any] = {"mother_age": 30, "gestation_weeks": 39.5, "plurality": "1", "mother_smokes": "true"}


def refused(change: dict[str, Any], *, leave_out: str | None = None) -> str:
    """What is said of a second row with `change`."""
    row = {name: value for name, value in {**ROW, **change}.items() if name != leave_out}
    with pytest.raises(DataError) as caught:
        columns_from_instances([ROW, row], INTERFACE)
    return caught.value.paragraph


def test_columns_have_the_types_that_the_signature_takes() -> None:
    columns = columns_from_instances([ROW, {"key": 7, "mother_age": 20.25, "plurality": "2"}], INTERFACE)
    assert list(columns) == ["mother_age", "gestation_weeks", "plurality", "mother_smokes", "key"]
    assert columns["mother_age"].dtype == np.float32
    assert columns["mother_age"].tolist() == [30.0, 20.25]
    assert columns["gestation_weeks"][0] == np.float32(39.5)
    assert math.isnan(columns["gestation_weeks"][1])
    assert columns["plurality"].tolist() == ["1", "2"]
    assert columns["mother_smokes"].tolist() == ["true", ""]
    assert columns["key"].tolist() == ["", "7"]


def test_no_key_makes_no_key() -> None:
    assert "key" not in columns_from_instances([ROW], INTERFACE)
    assert "key" not in columns_from_instances([{**ROW, "key": None}], INTERFACE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (1.5, "1.5"),
        (-0.0, "0"),
        (True, "true"),
        (False, "false"),
        ("1.0", "1.0"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_a_number_for_a_category_becomes_its_text(value: Any, text: str) -> None:
    assert columns_from_instances([{**ROW, "plurality": value}], INTERFACE)["plurality"].tolist() == [text]


@pytest.mark.parametrize(("key", "text"), [("a", "a"), (12, "12"), ("", ""), ("\u00fc", "\u00fc")])
@pytest.mark.parametrize("name", ["key", "record_id"])
def test_the_key_is_a_string_or_an_integer_under_either_name(name: str, key: Any, text: str) -> None:
    assert columns_from_instances([{**ROW, name: key}], INTERFACE)["key"].tolist() == [text]


@pytest.mark.parametrize(
    ("change", "paragraph"),
    [
        (
            {"mother_age": "30"},
            'instances[1].mother_age: it is a string. Expected a number of at most 3.4e38. Received: "30".',
        ),
        (
            {"mother_age": True},
            "instances[1].mother_age: it is a boolean. Expected a number of at most 3.4e38. Received: true.",
        ),
        (
            {"gestation_weeks": [1]},
            "instances[1].gestation_weeks: it is an array. Expected a number of at most 3.4e38 or null. Received: [1].",
        ),
        (
            {"mother_age": None},
            "instances[1].mother_age: the feature is missing. Expected a number. Received: null, or nothing.",
        ),
        (
            {"mother_age": 1e39},
            "instances[1].mother_age: the number is too big. Expected a number of at most 3.4e38. Received: 1e+39.",
        ),
        (
            {"mother_age": 10**400},
            (
                "instances[1].mother_age: the number is too big. Expected a number of at most 3.4e38. "
                "Received: an integer of more than 80 digits."
            ),
        ),
        (
            {"mother_age": float("inf")},
            "instances[1].mother_age: the number is too big. Expected a number of at most 3.4e38. Received: Infinity.",
        ),
        (
            {"plurality": ""},
            (
                "instances[1].plurality: the feature is missing. Expected a string that is not empty. "
                "Received: an empty string, null, or nothing."
            ),
        ),
        (
            {"plurality": {"c": ""}},
            (
                'instances[1].plurality: it is an object. Expected a string, or {"b64": "..."} of bytes in base64. '
                'Received: {"c": ""}.'
            ),
        ),
        (
            {"plurality": {"b64": "/w=="}},
            (
                "instances[1].plurality: the text is not valid Unicode. Expected text that can be encoded as UTF-8. "
                "Received: '\\udcff'."
            ),
        ),
        ({"mother_smokes": []}, "instances[1].mother_smokes: it is an array. Expected a string or null. Received: []."),
        (
            {"plurality": "\ud800"},
            (
                "instances[1].plurality: the text is not valid Unicode. Expected text that can be encoded as UTF-8. "
                "Received: '\\ud800'."
            ),
        ),
        ({"key": 1.5}, "instances[1].key: the key is a number. Expected a string or an integer. Received: 1.5."),
        ({"key": True}, "instances[1].key: the key is a boolean. Expected a string or an integer. Received: true."),
        (
            {"key": "a", "record_id": "b"},
            "instances[1]: the key is given twice. Expected key or record_id. Received: both.",
        ),
    ],
)
def test_each_fault_names_its_place_what_was_expected_and_what_came(change: dict[str, Any], paragraph: str) -> None:
    assert refused(change) == paragraph


def test_a_required_feature_that_is_left_out_is_refused() -> None:
    assert refused({}, leave_out="plurality").startswith("instances[1].plurality: the feature is missing.")


def test_a_row_that_is_no_object_is_refused() -> None:
    with pytest.raises(DataError, match=r"instances\[1\]: it is not an object.*Received: \[30, 39\.5\]"):
        columns_from_instances([ROW, [30, 39.5]], INTERFACE)


def test_a_long_value_is_shown_short() -> None:
    assert len(refused({"mother_age": "x" * 10_000})) < 250


def test_fields_that_the_model_does_not_take_are_ignored() -> None:
    more = {"weight_pounds": 3, "mother_agee": [], "\ud800": None}
    assert columns_from_instances([{**ROW, **more}], INTERFACE) == columns_from_instances([ROW], INTERFACE)
    inputs = {name: [value] for name, value in ROW.items()}
    assert columns_from_inputs({**inputs, "more": 7, "other": [1, 2]}, INTERFACE) == columns_from_inputs(
        inputs, INTERFACE
    )


def test_columnar_inputs() -> None:
    columns = columns_from_inputs({"mother_age": [30, 20], "plurality": ["1", 2], "key": ["a", 2]}, INTERFACE)
    assert columns["mother_age"].tolist() == [30.0, 20.0]
    assert np.isnan(columns["gestation_weeks"]).all()
    assert columns["plurality"].tolist() == ["1", "2"]
    assert columns["mother_smokes"].tolist() == ["", ""]
    assert columns["key"].tolist() == ["a", "2"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([1], "inputs: it is not an object"),
        ({"mother_age": 30, "plurality": ["1"]}, "inputs.mother_age: it is not an array"),
        (
            {"mother_age": [30, 31], "plurality": ["1"]},
            "inputs.plurality: the columns differ in length. Expected 2 values, as in mother_age. Received: 1.",
        ),
        ({"mother_age": [30]}, "inputs.plurality: the feature is missing"),
        ({}, "inputs.mother_age: the feature is missing"),
        ({"mother_age": [30, "x"], "plurality": ["1", "1"]}, "inputs.mother_age[1]: it is a string"),
        ({"ages": [30]}, "inputs.mother_age: the feature is missing"),
        ({"mother_age": [30], "plurality": ["1"], "key": [[]]}, "inputs.key[0]: the key is an array"),
    ],
)
def test_each_fault_of_columnar_inputs(inputs: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        columns_from_inputs(inputs, INTERFACE)
    assert caught.value.paragraph.startswith(message)


_VALUES = {
    "mother_age": st.one_of(st.integers(-(2**24), 2**24), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "gestation_weeks": st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "plurality": st.text(st.characters(codec="utf-8"), min_size=1),
    "mother_smokes": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
}


@given(rows=st.lists(st.fixed_dictionaries(_VALUES), min_size=1, max_size=20))
def test_rows_and_columns_of_the_same_values_convert_alike(rows: list[dict[str, Any]]) -> None:
    rows = json.loads(json.dumps(rows))
    by_row = columns_from_instances(rows, INTERFACE)
    by_column = columns_from_inputs({name: [row[name] for row in rows] for name in _VALUES}, INTERFACE)
    for name, column in by_row.items():
        assert len(column) == len(rows)
        np.testing.assert_array_equal(column, by_column[name])
    for index, row in enumerate(rows):
        assert by_row["mother_age"][index] == np.float32(row["mother_age"])
        assert by_row["plurality"][index] == row["plurality"]
        assert by_row["mother_smokes"][index] == (row["mother_smokes"] or "")
        assert math.isnan(by_row["gestation_weeks"][index]) == (row["gestation_weeks"] is None)


_ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(row=st.one_of(_ANYTHING, st.dictionaries(st.sampled_from(INTERFACE.names), _ANYTHING)))
def test_anything_is_converted_or_refused_as_data(row: Any) -> None:
    said = ""
    columns = {}
    try:
        columns = columns_from_instances([row], INTERFACE)
    except DataError as error:
        said = error.paragraph
    assert ("instances[0]" in said) != ({len(column) for column in columns.values()} == {1})


def test_predictions_as_rows_and_as_columns() -> None:
    outputs = {
        "key": np.array([b"a", "\u00fc".encode()], dtype=object),
        "prediction": np.array([b"no", b"yes"], dtype=object),
        "probabilities": np.array([[0.75, 0.25], [0.5, 0.5]], dtype=np.float32),
    }
    assert rows_from_outputs(outputs, bare=False) == [
        {"key": "a", "prediction": "no", "probabilities": [0.75, 0.25]},
        {"key": "\u00fc", "prediction": "yes", "probabilities": [0.5, 0.5]},
    ]
    assert columns_from_outputs(outputs, bare=False)["probabilities"] == [[0.75, 0.25], [0.5, 0.5]]
    one = {"output_0": np.array([1.5, 2.5], dtype=np.float32)}
    assert rows_from_outputs(one, bare=True) == columns_from_outputs(one, bare=True) == [1.5, 2.5]
    assert rows_from_outputs(one, bare=False) == [{"output_0": 1.5}, {"output_0": 2.5}]
    assert columns_from_outputs(one, bare=False) == {"output_0": [1.5, 2.5]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_prediction_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(
        NotFinitePrediction, match=r"predictions\[1\]\.prediction: the model's prediction is not finite"
    ) as raised:
        check_finite({"prediction": np.array([1.0, value, value], dtype=np.float32)})
    assert raised.value.rows == {"prediction": [1, 2]}
    with pytest.raises(NotFinitePrediction, match=r"predictions\[0\]\.probabilities"):
        check_finite({"probabilities": np.array([[0.5, value]], dtype=np.float32)})
