"""Drift measures: distances between two statistics of one column, as pure functions on statistics.json.

The distances are those of TensorFlow Data Validation (https://www.tensorflow.org/tfx/data_validation/get_started,
"Checking data skew and drift"): L-infinity for categories, Jensen-Shannon for numbers, and here for categories too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def jensen_shannon(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """The Jensen-Shannon divergence of two statistics of one column, in [0, 1]; symmetric, and 0 for equal ones.

    JSD(P, Q) = KL(P || M) / 2 + KL(Q || M) / 2 with M = (P + Q) / 2, in bits (J. Lin, "Divergence measures based on
    the Shannon entropy", IEEE Transactions on Information Theory 37, 1991). P and Q are fractions of a column's values:
    of categories, by value; of numbers, over the intervals between all quantiles of both, within which the values
    count as uniformly distributed. Missing values are ignored.

    Args:
        first: a column of statistics.json, with at least one value.
        second: the same column of another one.

    Raises:
        ValueError: one is of numbers and the other of categories, or one has no values.
    """
    p, q = _fractions(first, second)
    middle = (p + q) / 2
    divergence = (relative_entropy(p, middle) + relative_entropy(q, middle)) / 2
    return float(min(max(divergence, 0.0), 1.0))


def l_infinity(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """The maximum difference of any category's fraction, in [0, 1]; symmetric, and 0 for equal ones.

    Args:
        first: a categorical column of statistics.json, with at least one value.
        second: the same column of another one.

    Raises:
        ValueError: one is of numbers, or has no values.
    """
    if "numeric" in (first["kind"], second["kind"]):
        raise ValueError("both columns must be categorical, got a numeric one")
    p, q = _fractions(first, second)
    return float(np.abs(p - q).max())


def relative_entropy(p: Floats, q: Floats) -> float:
    """KL(p || q) in bits; q is positive wherever p is."""
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def _fractions(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """The fractions of both columns over the same cells; each sums to 1."""
    if first["kind"] != second["kind"]:
        raise ValueError(f"both columns must be of one kind, got {first['kind']} and {second['kind']}")
    if not first["count"] or not second["count"]:
        raise ValueError("both columns must have values, got one without")
    if first["kind"] == "numeric":
        bounds = np.union1d(first["quantiles"], second["quantiles"])
        return _between(first["quantiles"], bounds), _between(second["quantiles"], bounds)
    values = sorted({value for column in (first, second) for value, _ in column["vocabulary"]})
    return _of_values(first, values), _of_values(second, values)


def _between(quantiles: Sequence[float], bounds: Floats) -> Floats:
    """The fractions of the values up to the first bound, and then between each bound and the next, inclusive."""
    at = np.asarray(quantiles, np.float64)
    fractions = np.linspace(0.0, 1.0, len(at))
    # Of equal quantiles, the last has the fraction of the values up to there, and the first the fraction below.
    last = np.searchsorted(at, bounds, side="right") - 1
    following = np.minimum(last + 1, len(at) - 1)
    width = at[following] - at[last]
    inside = (last >= 0) & (width > 0)
    part = np.divide(bounds - at[last], width, out=np.zeros(len(bounds)), where=inside)
    below = np.where(last < 0, 0.0, fractions[last] + part * (fractions[following] - fractions[last]))
    return np.diff(below, prepend=0.0)


def _of_values(column: Mapping[str, Any], values: Sequence[str]) -> Floats:
    """The fraction of each value, and of all values outside the vocabulary."""
    counts = dict(column["vocabulary"])
    listed = np.array([counts.get(value, 0) for value in values], np.float64)
    # The counts of a vocabulary of estimates may sum to more than the rows.
    total = max(float(column["count"]), float(listed.sum()))
    return np.append(listed, total - listed.sum()) / total
