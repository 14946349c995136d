"""Typed values and the categories that say them."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from headrace.core.errors import DataError
from headrace.core.values.columns import respell, texts
from headrace.core.values.spellings import several_spellings, spellings, typed_text


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("True", "true"), ("FALSE", "false"), ("2.0", "2"), ("2", "2"), ("1e3", "1000"), (".5", "0.5"), ("0.50", "0.5"),
        ("007", None), ("yes", None), ("", None), ("1.2.3", None), ("e5", None), ("2024-01-01", None), ("1_000", None),
        ("-0", "0"), ("1E400", None),
    ],
)  # fmt: skip
def test_the_typed_value_that_a_text_says(text: str, typed: str | None) -> None:
    assert typed_text(text) == typed


def test_a_typed_value_is_the_category_that_says_it() -> None:
    known = spellings(["True", "False", "2.0", "3", "3.0", "007", "4.0", "4.00"])
    assert known == {"true": "True", "false": "False", "2": "2.0", "4": ""}
    column = pa.array([Decimal(2), Decimal(3), Decimal(7), None])
    assert respell("c", column, texts(column)[0], known).to_pylist() == ["2.0", "3", "7", None]
    flags = pa.array([True, False, None])
    assert respell("c", flags, texts(flags)[0], known).to_pylist() == ["True", "False", None]
    text = pa.array(["true", "2", "True"])
    assert respell("c", text, text, known).to_pylist() == ["true", "2", "True"]
    with pytest.raises(DataError, match="several categories"):
        respell("c", pa.array([4]), pa.array(["4"]), known)


def test_spellings_of_one_value() -> None:
    assert several_spellings(["True", "true", "2", "2.0", "a", "A", "007", "7"]) == [("2", "2.0"), ("True", "true")]
