"""Rows on a line and their Problem, for tests in which what is learned does not matter."""

from __future__ import annotations

PROBLEM = """
from headrace import Gate, Numeric, Problem

problem = Problem(
    name="lines",
    key="id",
    label=Numeric("y"),
    features=[Numeric("x")],
    gate=Gate(metric="root_mean_squared_error", at_most=100.0),
)
"""


def rows(keys: str = "r") -> str:
    """200 rows as CSV.

    Args:
        keys: first part of their keys.
    """
    return "".join(["id,x,y\n", *(f"{keys}{n},{n % 10},{2 * (n % 10) + 1}\n" for n in range(200))])
