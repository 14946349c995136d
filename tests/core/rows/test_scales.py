"""Which columns are scaled: those whose numbers do not fit float32, and not those with a few huge ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from headrace.core.errors import ProblemError
from headrace.core.problem import Numeric, Problem
from headrace.core.rows.scales import measured_exponents, sizes_seen
from headrace.core.rules.column import NumberRule


def exponent_of(declared: Numeric, *batches: list[float]) -> int | None:
    seen: Counter[str] = Counter()
    for batch in batches:
        values = np.array(batch, np.float64)
        present = ~np.isnan(values)
        missing = np.zeros(len(values), np.bool_)
        faults = NumberRule(declared).faults("x", np.where(present, values, 0.0), ~present, missing)
        has_huge = any(fault.reason == "out_of_range" for fault in faults)
        seen.update(sizes_seen(declared, np.where(present, values, 0.0), present, has_huge=has_huge))
    problem = Problem("p", "k", Numeric("y"), [declared])
    return measured_exponents(problem, seen).get("x")


X = Numeric("x")


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([[1.0, 2.0], [3.0, float("nan")]], None),
        ([[0.0, 0.0], [0.0]], None),
        ([[float("nan")]], None),
        ([[1e300, -2e300], [5e299]], int(np.frexp(2e300)[1])),
        ([[1e-300, 0.0], [-3e-300]], int(np.frexp(3e-300)[1])),
        # One number that is not small, in whatever batch.
        ([[1e-300, 2e-300], [1.0]], None),
        ([[1e-300] * 100 + [1.0]], None),
        # 1.8e308 for a missing value is out of range, as long as most numbers are not.
        ([[1.7e308, 1.0], [2.0]], None),
        ([[1.7e308, 1.0, 1.7e308]], 1024),
        # All sizes at once: as the largest.
        ([[1e-300, 1e200, 1e250, 1e-5, 1e300]], int(np.frexp(1e300)[1])),
    ],
)
def test_measured_exponents(batches: list[list[float]], expected: int | None) -> None:
    assert exponent_of(X, *batches) == expected


def test_a_declared_bound_beyond_float32_means_such_numbers() -> None:
    assert exponent_of(Numeric("x", maximum=1e60), [1.0, 2.0, 1e50]) == int(np.frexp(1e50)[1])
    assert exponent_of(Numeric("x", maximum=1e60), [1.0, 2.0, 1e70]) is None
    assert exponent_of(Numeric("x", maximum=1e60), [1.0, 2.0]) is None


@pytest.mark.parametrize("exponent", [1.5, "3", True, 2000])
def test_an_exponent_is_a_power_of_float64(exponent: Any) -> None:
    with pytest.raises(ProblemError, match="exponent is wrong"):
        Numeric("x", exponent=exponent)


def test_the_problem_of_stored_numbers() -> None:
    declared = Numeric("x", minimum=-1e200, maximum=1e200, buckets=[-1e199, 0, 1e199])
    plain = Problem("p", "k", Numeric("y"), [declared])
    problem = plain.with_exponents({"x": 665})
    assert problem.exponents == {"x": 665}
    (stored,) = problem.stored.features
    assert isinstance(stored, Numeric)
    assert stored.maximum == 1e200 / 2.0**665
    assert stored.boundaries == (-1e199 / 2.0**665, 0, 1e199 / 2.0**665)
    assert plain.stored is plain
    assert "exponent" not in str(plain.to_json())
    assert problem.to_json()["features"][0]["exponent"] == 665
