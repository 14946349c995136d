"""Rules of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Numeric
from headrace.core.rules.column import CategoryRule, NumberRule
from headrace.core.rules.fault import RuleViolation, shown
from headrace.core.rules.mode import check_mode

AGE = Numeric("age", minimum=10, maximum=65)
KIND = Categorical("kind", vocabulary=["a", "b"])


def numbers(rule: NumberRule, *values: float | str | None, bits: int = 64) -> list[tuple[str, list[int], bool]]:
    """Faults of values: reason, rows and whether they refuse; None is missing, and text is wrong."""
    missing = np.array([value is None for value in values])
    wrong = np.array([isinstance(value, str) for value in values])
    wide = np.array([0.0 if value is None or isinstance(value, str) else value for value in values])
    return summary(rule.faults("age", wide, missing, wrong, bits))


def categories(rule: CategoryRule, *values: str) -> list[tuple[str, list[int], bool]]:
    column = np.array(values)
    return summary(rule.faults("kind", column == "", np.array([v not in rule.known and v != "" for v in values])))


def summary(faults: list[RuleViolation]) -> list[tuple[str, list[int], bool]]:
    return [(fault.reason, np.flatnonzero(fault.rows).tolist(), fault.refuses) for fault in faults]


def test_bounds_are_inclusive_and_every_rule_has_its_reason() -> None:
    values: list[Any] = [10, 65, 9.999, 65.001, None, "x", 1e39]
    assert numbers(NumberRule(AGE), *values) == [
        ("not_a_number", [5], True),
        ("missing_value", [4], True),
        ("out_of_range", [2, 3, 6], True),
    ]
    (fault,) = NumberRule(AGE).faults("age", np.array([500.0]), np.zeros(1, bool), np.zeros(1, bool))
    assert (fault.column, fault.message(shown(500.0))) == ("age", "age is 500, which is not between 10 and 65")


def test_warn_lets_through_what_the_model_can_take() -> None:
    values: list[Any] = [9, 30, None, "x", 1e39]
    assert numbers(NumberRule(AGE, "warn"), *values) == [
        ("not_a_number", [3], True),
        ("missing_value", [2], True),
        ("out_of_range", [4], True),
        ("out_of_range", [0], False),
    ]
    # What the model computes itself, it has whatever it is.
    assert numbers(NumberRule(AGE, "warn", derived=True), 9, 30, None, 1e39) == [
        ("missing_value", [2], False),
        ("out_of_range", [0, 3], False),
    ]
    assert categories(CategoryRule(KIND, mode="warn"), "a", "c", "") == [
        ("missing_value", [2], True),
        ("unknown_value", [1], False),
    ]


def test_a_bound_is_its_float32_too() -> None:
    rule = NumberRule(Numeric("x", minimum=-0.1, maximum=0.1))
    single = float(np.float32(0.1))
    assert numbers(rule, 0.1, single, -single) == []
    assert numbers(rule, np.nextafter(0.1, 1), np.nextafter(single, 1)) == [("out_of_range", [0, 1], True)]
    assert numbers(rule, single, float(np.nextafter(np.float32(0.1), np.float32(1))), bits=32) == [
        ("out_of_range", [1], True)
    ]
    assert rule.hold(np.array([0.1, -0.1], np.float32))
    assert not rule.hold(np.array([0.1000001], np.float32))


@pytest.mark.parametrize("dtype", ["int8", "int64", "float16", "float32", "float64"])
def test_columns_that_hold_are_told_at_once(dtype: str) -> None:
    rule = NumberRule(AGE)
    assert rule.hold(np.array([10, 30, 65], dtype))
    assert not rule.hold(np.array([10, 66], dtype))
    if dtype.startswith("float"):
        assert not rule.hold(np.array([10, np.nan], dtype))
        assert not rule.hold(np.array([10, np.inf], dtype))
        assert NumberRule(Numeric("x", optional=True)).hold(np.array([10, np.nan], dtype))
        assert not NumberRule(Numeric("x", optional=True, max_missing=0.5)).hold(np.array([10, np.nan], dtype))


def test_what_is_no_row_s_fault_is_counted() -> None:
    assert numbers(NumberRule(Numeric("x", optional=True)), None) == []
    assert numbers(NumberRule(Numeric("x", optional=True, max_missing=0.5)), 1, None) == [("missing_value", [1], False)]
    tolerant = Categorical("kind", vocabulary=["a"], max_unknown=0.5)
    assert categories(CategoryRule(tolerant), "a", "c") == [("unknown_value", [1], False)]
    assert categories(CategoryRule(Categorical("kind"), ("a", "b")), "b", "c") == [("unknown_value", [1], False)]
    assert categories(CategoryRule(Categorical("kind")), "b", "c") == []
    assert categories(CategoryRule(KIND), "b", "c", "") == [
        ("missing_value", [2], True),
        ("unknown_value", [1], True),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (500, "500"),
        (500.0, "500"),
        (0.25, "0.25"),
        (1e300, "1e+300"),
        (True, "true"),
        ("500", '"500"'),
        ("x" * 50, '"' + "x" * 39 + "..."),
        (10**500, "an integer of more than 38 digits"),
        (float("nan"), "nan"),
    ],
)
def test_values_in_messages_are_short_texts(value: Any, text: str) -> None:
    assert shown(value) == text


def test_other_modes_do_not_exist() -> None:
    with pytest.raises(UsageError, match="the mode of rules is not valid"):
        check_mode("off")
