"""Measured declarations: what a Problem leaves to the train split, in the place of how it is to be measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headrace.core.problem.declaration import Problem
from headrace.core.problem.features import Feature, Numeric

# The boundaries in a column's entry of statistics.json.
BUCKETS = "buckets"


def quantile_buckets(problem: Problem) -> dict[str, int]:
    """By column, how many buckets of equally many rows are declared, where no boundaries are."""
    return {c.name: c.buckets for c in problem.columns if isinstance(c, Numeric) and isinstance(c.buckets, int)}


def measured_buckets(problem: Problem, statistics: Mapping[str, Mapping[str, Any]]) -> Problem:
    """The Problem with boundaries in the place of each number of buckets.

    Args:
        problem: as declared.
        statistics: by column, as statistics.json holds them: of Examples that were made for the Problem.
    """
    wanted = quantile_buckets(problem)
    if not wanted:
        return problem

    def with_boundaries(feature: Feature) -> Feature:
        if not isinstance(feature, Numeric) or feature.name not in wanted:
            return feature
        return dataclasses.replace(feature, buckets=statistics[feature.name][BUCKETS])

    return dataclasses.replace(problem, features=[with_boundaries(feature) for feature in problem.features])
