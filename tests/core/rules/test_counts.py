"""Counts of rows that broke a rule."""

from __future__ import annotations

import numpy as np

from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import RuleViolation


def test_refused_and_predicted_rows_are_counted_by_reason_and_column() -> None:
    low = RuleViolation("age", "out_of_range", np.array([True, False, True]), str)
    unknown = RuleViolation("kind", "unknown_value", np.array([True, True, False]), str, refuses=False)
    whole = RuleViolation(None, "model_failed", np.array([False, True, False]), str)
    counts = RuleCounts.of([low, unknown, whole], np.array([False, True, False]))
    assert counts.to_json() == {
        "refused": {"out_of_range": {"age": 2}},
        # The first row is unknown too, and has no prediction.
        "predicted": {"unknown_value": {"kind": 1}},
    }
    twice = counts.merge(counts)
    assert (twice.refused, twice.let_through("unknown_value", "kind")) == ({"out_of_range": {"age": 4}}, 2)
    assert twice.metrics == {"predicted_unknown_value": 2}
    assert RuleCounts.from_json(twice.to_json()) == twice
    assert counts.merge(RuleCounts()) == counts
