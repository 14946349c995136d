"""Mixed columns of JSON: each value has the meaning of its own type, in a column as in a request."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.problem import Categorical
from headrace.core.rows.validate import category_texts
from headrace.core.saved_model.interface import ModelInput
from headrace.core.saved_model.json.inputs import InputFeature
from headrace.core.scoring.texts import texts_of
from headrace.core.sources.json_values import column_of
from headrace.core.values.columns import blank, is_text, json_value, texts
from headrace.core.values.mixed import as_plain_text, is_mixed
from headrace.core.values.numbers import parse_integers, parse_numbers
from headrace.core.values.scalars import number_of
from headrace.core.values.spellings import spellings

VALUES: list[Any] = [True, "True", "true", False, 2, "2", "2.0", 2.0, 0.5, "NA", " 7 ", "", None, 1 << 70, "x"]
CATEGORIES = ["True", "False", "2.0", "0.5", "x"]
JSON = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


def test_a_mixed_column_keeps_each_value_and_its_text() -> None:
    column = column_of(VALUES)
    assert is_mixed(column.type)
    assert is_text(column.type)
    assert column.to_pylist() == VALUES
    assert [json_value(value) for value in column] == VALUES
    assert texts(column)[0].to_pylist() == [
        *("true", "True", "true", "false", "2", "2", "2.0", "2", "0.5", "NA", " 7 ", "", None, str(1 << 70), "x")
    ]
    assert column.null_count == 1
    assert pa.types.is_string(as_plain_text(column).type)
    for part in (
        column.slice(3, 4),
        column.take(pa.array([3, 4, 5, 6])),
        column.filter(pa.array([3 <= n < 7 for n in range(15)])),
    ):
        assert part.to_pylist() == VALUES[3:7]
    assert pa.concat_arrays([column, column]).to_pylist() == VALUES * 2
    batch = pickle.loads(pickle.dumps(pa.RecordBatch.from_arrays([column], names=["c"])))
    assert batch.column(0).to_pylist() == VALUES


def test_a_column_of_one_type_is_as_ever() -> None:
    for values in ([True, None], ["a", "True"], [1, 2.5], [1, None]):
        assert not is_mixed(column_of(values).type)
    # Lists and objects beside texts have only their JSON text.
    assert column_of([[1], "a"]).to_pylist() == ["[1]", "a"]
    assert column_of([float("inf"), "a"]).to_pylist() == ["inf", "a"]


def test_typed_values_are_matched_by_value_and_texts_as_they_are_written() -> None:
    given_ = [True, "True", "true", False, 2, "2", 0.5, "x", None]
    expected = ["True", "True", "true", "False", "2.0", "2", "0.5", "x", None]
    declared = Categorical("c", vocabulary=CATEGORIES)
    assert category_texts(declared, column_of(given_))[0].to_pylist() == expected
    taken = ModelInput("c", "string", None, ("c",), spellings=spellings(CATEGORIES))
    assert texts_of("c", taken, column_of(given_))[0].to_pylist() == [text or "" for text in expected]
    with pytest.raises(DataError, match="several categories"):
        category_texts(Categorical("c", vocabulary=["True", "TRUE"]), column_of([True, "x"]))
    # A text that could be either is only a text.
    column = column_of(["true", 1])
    assert category_texts(Categorical("c", vocabulary=["True", "TRUE"]), column)[0].to_pylist() == ["true", "1"]


def test_missing_texts_and_numbers() -> None:
    assert blank(column_of(["NA", True, " NA ", "x", 1]), ["NA", "true"]).to_pylist() == [None, True, None, "x", 1]
    values, missing, wrong = parse_numbers(column_of([True, "1.5", False, " 2 ", 3, "x", "", None]))
    assert values[~missing & ~wrong].tolist() == [1, 1.5, 0, 2, 3]
    assert np.flatnonzero(wrong).tolist() == [5]
    assert np.flatnonzero(missing).tolist() == [6, 7]
    assert parse_integers(column_of([True, "4", (1 << 62) + 1]), "int64").values.tolist() == [1, 4, (1 << 62) + 1]


@given(st.lists(JSON, min_size=1, max_size=8))
def test_columns_and_requests_agree(values: list[Any]) -> None:
    known = spellings(CATEGORIES)
    column = column_of(values)
    taken = ModelInput("c", "string", None, ("c",), optional=True, spellings=known)
    request = InputFeature("c", "categorical", optional=True, spellings=known)
    try:
        answered = request.read(values, str).tolist()
    except DataError:
        return
    assert texts_of("c", taken, column)[0].to_pylist() == answered
    if pa.types.is_null(column.type):
        return
    numbers, missing, wrong = parse_numbers(column)
    for place, value in enumerate(values):
        try:
            number = number_of(value)
        except ValueError:
            assert wrong[place]
            continue
        assert missing[place] == (number is None)
        assert number is None or numbers[place] == number
