"""Threshold table: exact counts, and the threshold that costs least."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as peer

from headrace.components.evaluate.thresholds import threshold_table
from headrace.core.metrics import Outcomes
from headrace.core.problem import Costs


def outcomes(label: list[int], probability: list[float]) -> Outcomes:
    scores = np.array(probability, np.float32)
    return Outcomes("binary", ("no", "yes"), np.array(label), (scores >= 0.5).astype(np.int64), scores)


SCORES = outcomes([0, 0, 1, 0, 1, 1], [0.1, 0.3, 0.3, 0.6, 0.7, 0.9])


def test_precision_and_recall_at_each_threshold() -> None:
    found = threshold_table(SCORES, 0.33, None)
    assert [row["threshold"] for row in found["table"]] == sorted([*(step / 20 for step in range(1, 20)), 0.33])
    assert (found["split"], found["rows"], found["chosen"], found["costs"]) == ("eval", 6, 0.33, None)
    for row in found["table"]:
        claimed = SCORES.probability >= np.float32(row["threshold"])  # type: ignore[operator]
        assert row["predicted_positive"] == claimed.sum()
        assert row["recall"] == pytest.approx(peer.recall_score(SCORES.label, claimed))
        assert row["f1_score"] == pytest.approx(peer.f1_score(SCORES.label, claimed))
        if claimed.any():
            assert row["precision"] == pytest.approx(peer.precision_score(SCORES.label, claimed))
        else:
            assert row["precision"] is None
        assert "cost" not in row
    assert found["best"] == {"threshold": 0.65, "by": "f1_score"}


def test_a_probability_that_equals_the_threshold_is_positive_in_float32() -> None:
    rows = {row["threshold"]: row for row in threshold_table(SCORES, 0.5, None)["table"]}
    assert rows[0.3]["predicted_positive"] == 5
    assert rows[0.7]["predicted_positive"] == 2


def test_costs_choose_the_threshold() -> None:
    cheap_alarms = threshold_table(SCORES, 0.5, Costs(false_positive=1, false_negative=10))
    dear_alarms = threshold_table(SCORES, 0.5, Costs(false_positive=10, false_negative=1))
    assert cheap_alarms["best"] == {"threshold": 0.15, "by": "cost"}
    assert dear_alarms["best"] == {"threshold": 0.65, "by": "cost"}
    rows = {row["threshold"]: row for row in cheap_alarms["table"]}
    assert rows[0.5]["cost"] == (1 * 1 + 10 * 1) / 6
    assert cheap_alarms["costs"] == {"false_positive": 1, "false_negative": 10}


def test_one_class_has_no_best_threshold() -> None:
    assert threshold_table(outcomes([0, 0], [0.2, 0.8]), 0.5, None)["best"] is None
