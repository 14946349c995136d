"""Scaled numbers in training: statistics, rows and graphs of columns that Examples hold divided by 2 ** exponent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.core.problem import Problem
from headrace.core.values.scaling import factors, unscaled

_IN_OWN_UNIT = ("mean", "standard_deviation", "minimum", "maximum")
_LISTS = ("quantiles", "buckets")


def stored_statistics(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Statistics of numbers as stored in Examples, which are the numbers that a model receives.

    Args:
        statistics: by column name, as in statistics.json: in the columns' own units.
    """
    return {name: _stored(measured) for name, measured in statistics.items()}


def _stored(measured: Mapping[str, Any]) -> Mapping[str, Any]:
    exponent = measured.get("exponent")
    if not exponent:
        return measured
    found = dict(measured)
    for name in (*_IN_OWN_UNIT, *_LISTS):
        if found.get(name) is not None:
            found[name] = np.ldexp(found[name], -exponent).tolist()
    weighted = found.get("weighted")
    if weighted and weighted.get("mean") is not None:
        found["weighted"] = {**weighted, "mean": float(np.ldexp(weighted["mean"], -exponent))}
    return found


def own_units(problem: Problem, rows: Mapping[str, Any]) -> dict[str, Any]:
    """Rows as in requests: numbers that the model accepts as float64 are in their own unit; others are unchanged.

    Args:
        problem: with the columns' exponents.
        rows: columns by name, [rows], as Examples hold them.
    """
    exponents = problem.exponents
    own = {n: unscaled(column, exponents[n]) if n in exponents else column for n, column in rows.items()}
    return own | {name: rows[held] for name, held in problem.derivation.exact.items()}


def multiplied(values: Any, exponent: int) -> Any:
    """A tensor times 2 ** exponent, as float64; unchanged for the exponent 0."""
    if not exponent:
        return values
    first, second = (tf.constant(factor, tf.float64) for factor in factors(exponent))
    return tf.cast(values, tf.float64) * first * second


def divided(values: Any, exponent: int) -> Any:
    """A tensor divided by 2 ** exponent, as float32; texts are unchanged."""
    return values if values.dtype == tf.string else tf.cast(multiplied(values, -exponent), tf.float32)
