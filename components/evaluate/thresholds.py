"""Threshold table: precision, recall and cost of a binary model by its decision threshold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from headrace.core.metrics import Outcomes
from headrace.core.problem import Costs

_STEPS = 20


def threshold_table(outcomes: Outcomes, chosen: float, costs: Costs | None) -> dict[str, Any]:
    """Table of thresholds 0.05, 0.10, ... 0.95 and the chosen one, as a JSON value.

    With sample weights, precision, recall, f1_score and cost are by weight.

    A row of the data is predicted positive if its probability is not below the threshold, in float32 as in the model.

    Args:
        outcomes: of a binary model on the eval split: the metrics of a threshold chosen on the test split would be
            biased there.
        chosen: the Problem's threshold.
        costs: costs of the errors; None omits the cost.

    Returns:
        `split`, `rows`, `chosen`, `costs`, and in `table` by threshold: `predicted_positive` (rows), `precision` and
        `recall` (None where undefined), `f1_score`, and `cost` per row of the data. `best` is the threshold with the
        lowest cost, or else with the highest f1_score; None where neither is defined.
    """
    probability = np.asarray(outcomes.probability, np.float32)
    positive = outcomes.label == 1
    weight = np.ones(outcomes.rows) if outcomes.weight is None else outcomes.weight
    total, positives = float(weight.sum()), float(weight[positive].sum())
    thresholds = sorted({round(step / _STEPS, 10) for step in range(1, _STEPS)} | {chosen})
    table = []
    for threshold in thresholds:
        claimed = probability >= np.float32(threshold)
        hit, false = float(weight[claimed & positive].sum()), float(weight[claimed & ~positive].sum())
        missed = float(weight[~claimed & positive].sum())
        row: dict[str, Any] = {
            "threshold": threshold,
            "predicted_positive": int(claimed.sum()),
            "precision": _ratio(hit, hit + false),
            "recall": _ratio(hit, positives),
            "f1_score": _ratio(2 * hit, 2 * hit + false + missed),
        }
        if costs is not None:
            row["cost"] = (costs.false_positive * false + costs.false_negative * missed) / total
        table.append(row)
    return {
        "split": "eval",
        "rows": outcomes.rows,
        "chosen": chosen,
        "costs": None if costs is None else dataclasses.asdict(costs),
        "best": _best(table, by_cost=costs is not None),
        "table": table,
    }


def _best(table: list[dict[str, Any]], *, by_cost: bool) -> dict[str, Any] | None:
    if by_cost:
        return {"threshold": min(table, key=lambda row: row["cost"])["threshold"], "by": "cost"}
    defined = [row for row in table if row["f1_score"]]
    if not defined:
        return None
    return {"threshold": max(defined, key=lambda row: row["f1_score"])["threshold"], "by": "f1_score"}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
