"""Comparison of a challenger with the champion on the test rows of the newest span of a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.components.evaluate import bootstrap
from headrace.components.evaluate.artifacts import EvaluatedModel, open_newest
from headrace.components.evaluate.contest.challenge import ChallengerComparison, judge_all, judge_slice
from headrace.components.evaluate.gate import ALL_ROWS, GateCheck
from headrace.components.evaluate.predict import predict
from headrace.components.evaluate.slices import cut
from headrace.core import metrics
from headrace.core.problem import Gate, Problem
from headrace.core.progress import Progress, silent

# A model's bias is good close to 0, on either side.
_TWO_SIDED = "mean_bias"


@dataclass(frozen=True)
class Contest:
    """Result of a comparison.

    Attributes:
        passed: whether the challenger replaces the champion.
        checks: on all rows, then on slices.
        rows: number of test rows of the newest span.
        metric: the compared metric.
    """

    passed: bool
    checks: tuple[GateCheck, ...]
    rows: int
    metric: str

    def to_json(self) -> dict[str, Any]:
        """The contest without its checks, which are in the list of the evaluation's checks."""
        return {"passed": self.passed, "rows": self.rows, "metric": self.metric}


def compare(
    problem: Problem,
    examples: str,
    models: Sequence[EvaluatedModel],
    comparison: ChallengerComparison,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    report: Progress = silent,
) -> Contest:
    """Compares two models on the test rows of the newest span, overall and by the gate's slices.

    Args:
        problem: declares the gate, whose metric and slices are compared.
        examples: URI of a window's Examples.
        models: the challenger and the champion.
        comparison: the rule.
        confidence, resamples, seed: of the bootstrap.
        report: called with the progress.

    Raises:
        DataError: the Examples are damaged, or not a window.
        PlatformError: a model's predictions are not usable.
    """
    gate = (problem.gate or Gate()).of(problem.task, problem.threshold)
    metric = gate.metric if gate.metric != _TWO_SIDED else Gate().of(problem.task, problem.threshold).metric
    split = open_newest(examples, problem)
    if split is None:
        empty = judge_all(comparison, metric, "the newest span, which has no test row,", None, None, None)
        return Contest(False, (empty,), 0, metric)

    predicted = predict(problem, split, models, report)
    new, old = predicted.outcomes
    drawn = bootstrap.draw(new.rows, resamples=resamples, seed=seed)
    challenger, champion = (metrics.measure(each)[metric] for each in (new, old))
    interval = bootstrap.difference(new, old, drawn, metric, confidence=confidence)
    where = f"{ALL_ROWS} of the newest span ({new.rows:,})"
    checks = [judge_all(comparison, metric, where, challenger, champion, interval)]
    slices, _ = cut(problem.columns, predicted.columns, judged=gate.slices, minimum_size=gate.minimum_slice_size)
    for part in slices:
        if part.feature not in gate.slices or len(part.rows) < gate.minimum_slice_size:
            continue
        challenger, champion = (metrics.measure(each, part.rows)[metric] for each in (new, old))
        interval = bootstrap.difference(new, old, drawn, metric, confidence=confidence, rows=part.rows)
        where = f"{part.feature}={part.value} of the newest span ({len(part.rows):,} rows)"
        check = judge_slice(comparison, metric, where, challenger, champion, interval)
        checks += [] if check is None else [check]
    return Contest(all(check.passed is not False for check in checks), tuple(checks), new.rows, metric)
