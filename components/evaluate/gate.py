"""Gate: decides from measurements whether a model is blessed, with reasons. A pure function of its arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core.problem import METRICS, Gate

HIGHER_IS_BETTER: Mapping[str, bool] = {name: up for names in METRICS.values() for name, up in names.items()}
ALL_ROWS = "all rows"
UNGATED = "Ungated: the problem declares gate=None, so every model is blessed."


@dataclass(frozen=True)
class SliceMetrics:
    """Metrics of a slice: the rows with one value of a feature.

    Attributes:
        feature: its name.
        value: the value, or the bucket as "[20, 25)".
        rows: number of test rows with the value.
        metrics: name to value, None where undefined.
    """

    feature: str
    value: str
    rows: int
    metrics: Mapping[str, float | None]

    @property
    def where(self) -> str:
        """The slice as "feature=value"."""
        return f"{self.feature}={self.value}"


@dataclass(frozen=True)
class ModelMetrics:
    """Metrics of one model on the test split.

    Attributes:
        metrics: on all rows; name to value, None where undefined.
        slices: metrics of the slices.
    """

    metrics: Mapping[str, float | None]
    slices: tuple[SliceMetrics, ...] = ()


@dataclass(frozen=True)
class ConstantBaseline:
    """The gate's metric of a constant prediction, compared with the model's on the same rows.

    Attributes:
        name: the constant, such as "the mean of the train labels".
        value: the metric's value; None where undefined.
        interval: of the metric's difference, model minus baseline; None where it is undefined.
        confidence: of the interval, in (0, 1).
        rows: of the test split.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None
    confidence: float
    rows: int


@dataclass(frozen=True)
class GateCheck:
    """The check of one bound on one measurement.

    Attributes:
        where: "all rows", or the slice as "feature=value".
        metric: the metric's name.
        measured: its value, None where undefined.
        bound: the bound, such as "at most 1.2".
        passed: None where not checked.
        reason: the check as a sentence.
    """

    where: str
    metric: str
    measured: float | None
    bound: str
    passed: bool | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The check without its sentence."""
        names = ("where", "metric", "measured", "bound", "passed")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class GateDecision:
    """The gate's decision.

    Attributes:
        blessed: whether no check failed.
        checks: first those on all rows, then those on slices in their order.
    """

    blessed: bool
    checks: tuple[GateCheck, ...]
    reasons: tuple[str, ...]

    def joined(self, passed: bool, checks: tuple[GateCheck, ...]) -> GateDecision:
        """The decision with further checks, which must pass as well."""
        # A problem without a gate has a sentence instead of checks.
        reasons = (*(self.reasons if self.checks else ()), *(check.reason for check in checks))
        return GateDecision(self.blessed and passed, (*self.checks, *checks), reasons)


def judge(
    gate: Gate | None,
    measured: ModelMetrics,
    champion: ModelMetrics | None = None,
    baseline: ConstantBaseline | None = None,
) -> GateDecision:
    """Decides whether a model is blessed.

    On all rows, every bound of the gate is checked, and an undefined metric fails. The same bounds are checked for each
    value of the gate's slice features, if the slice has `minimum_slice_size` rows and the metric is defined; other
    slices are not checked. With a champion, a model that is worse by more than
    `champion_tolerance * |champion's value|` fails; for mean_bias, which may have either sign, worse is farther from 0.
    Without a champion, this check is skipped. With `beats_baseline`, the interval of the metric's difference from the
    baseline's, on all rows, must lie on the better side of 0; an undefined interval fails.

    Args:
        gate: the Problem's gate, with its metric; None blesses every model.
        measured: metrics of the model on the test split.
        champion: metrics of the champion on the same rows.
        baseline: metric of a constant on the same rows, for a gate with `beats_baseline`.
    """
    if gate is None:
        return GateDecision(True, (), (UNGATED,))
    checks = [] if baseline is None else [_against_baseline(gate, measured.metrics, baseline)]
    checks += _judge_one(gate, ALL_ROWS, measured.metrics, None if champion is None else champion.metrics)
    of_champion = {s.where: s.metrics for s in champion.slices} if champion is not None else {}
    for part in measured.slices:
        if part.feature not in gate.slices:
            continue
        if part.rows < gate.minimum_slice_size:
            checks.append(_too_small(gate, part))
        else:
            known = None if champion is None else of_champion.get(part.where, {})
            checks += _judge_one(gate, part.where, part.metrics, known, rows=part.rows)
    blessed = all(check.passed is not False for check in checks)
    return GateDecision(blessed, tuple(checks), tuple(check.reason for check in checks))


def _judge_one(
    gate: Gate,
    where: str,
    metrics: Mapping[str, float | None],
    champion: Mapping[str, float | None] | None,
    *,
    rows: int | None = None,
) -> list[GateCheck]:
    """The checks of every bound on one set of rows."""
    value = _defined(metrics.get(gate.metric))
    subject = f"{gate.metric} on {where}" if rows is None else f"{gate.metric} for {where} ({rows} rows)"
    checks = []
    for bound, limit in (("at most", gate.at_most), ("at least", gate.at_least)):
        if limit is None:
            continue
        asked = f"{bound} {limit:g}" if float(f"{limit:g}") == limit else f"{bound} {limit!r}"
        if value is None:
            checks.append(_undefined(gate, where, subject, asked, judged=rows is None))
            continue
        passed = value <= limit if bound == "at most" else value >= limit
        beyond = "above" if bound == "at most" else "below"
        text, limit_text = _distinct(value, limit)
        verdict = (
            f"{bound} {limit_text} was configured: passed" if passed else f"{beyond} the {limit_text} allowed: failed"
        )
        checks.append(GateCheck(where, gate.metric, value, asked, passed, f"{subject} is {text}, {verdict}."))
    # A missing champion is reported once, not for every slice.
    if gate.champion_tolerance is not None and (champion is not None or rows is None):
        checks.append(_against_champion(gate, where, subject, value, champion, judged=rows is None))
    return checks


def _against_baseline(gate: Gate, metrics: Mapping[str, float | None], baseline: ConstantBaseline) -> GateCheck:
    value, base = _defined(metrics.get(gate.metric)), _defined(baseline.value)
    rows = "1 test row" if baseline.rows == 1 else f"{baseline.rows:,} test rows"
    subject, asked = f"{gate.metric} on {ALL_ROWS}", f"better than the baseline's {_text(base)}"
    known = f"{subject} is {_text(value)}; that of the baseline, {baseline.name}, is {_text(base)}"
    if baseline.interval is None or value is None or base is None:
        reason = f"{known}: the improvement cannot be judged on {rows}: failed."
        return GateCheck(ALL_ROWS, gate.metric, value, asked, False, reason)
    low, high = baseline.interval
    up = HIGHER_IS_BETTER[gate.metric]
    passed = low > 0 if up else high < 0
    interval = f"the {100 * baseline.confidence:g} % interval of the difference is {low:.4g} to {high:.4g} on {rows}"
    verdict = "passed" if passed else "not clearly better, failed"
    reason = f"{known}; {interval}: {verdict}."
    if not passed and gate.metric == "accuracy" and value >= base:
        reason += " Where a class is rare, a gate on log_loss or auc suits better."
    return GateCheck(ALL_ROWS, gate.metric, value, asked, passed, reason)


def _text(value: float | None) -> str:
    return "undefined" if value is None else _number(value)


def _against_champion(
    gate: Gate,
    where: str,
    subject: str,
    value: float | None,
    champion: Mapping[str, float | None] | None,
    *,
    judged: bool,
) -> GateCheck:
    tolerance = gate.champion_tolerance or 0.0
    allowance = f"within {100 * tolerance:g} % of the champion" if tolerance else "no worse than the champion"
    if champion is None:
        reason = f"{subject} is not compared: no champion exists."
        return GateCheck(where, gate.metric, value, allowance, None, reason)
    best = _defined(champion.get(gate.metric))
    if value is None:
        return _undefined(gate, where, subject, allowance, judged=judged)
    if best is None:
        reason = f"{subject} is not compared: it is undefined for the champion."
        return GateCheck(where, gate.metric, value, allowance, None, reason)
    if gate.metric == "mean_bias":
        limit, passed = abs(best) * (1 + tolerance), abs(value) <= abs(best) * (1 + tolerance)
        subject = f"|{gate.metric}|{subject[len(gate.metric) :]}"
        text, limit_text = _distinct(abs(value), limit)
        best_text = _number(abs(best))
    else:
        up = HIGHER_IS_BETTER[gate.metric]
        limit = best - tolerance * abs(best) if up else best + tolerance * abs(best)
        passed = value >= limit if up else value <= limit
        text, limit_text = _distinct(value, limit)
        best_text = _number(best)
    margin = f"the champion's is {best_text}"
    if tolerance:
        margin += f", so {limit_text} is allowed"
    verdict = "passed" if passed else "failed"
    return GateCheck(where, gate.metric, value, allowance, passed, f"{subject} is {text}; {margin}: {verdict}.")


def _undefined(gate: Gate, where: str, subject: str, asked: str, *, judged: bool) -> GateCheck:
    end = "failed" if judged else "not judged"
    return GateCheck(
        where, gate.metric, None, asked, False if judged else None, f"{subject} is undefined; {asked}: {end}."
    )


def _too_small(gate: Gate, part: SliceMetrics) -> GateCheck:
    value = _defined(part.metrics.get(gate.metric))
    count = "1 row" if part.rows == 1 else f"{part.rows} rows"
    shown = "undefined" if value is None else _number(value)
    reason = (
        f"{gate.metric} for {part.where} is {shown}, on {count}: fewer than {gate.minimum_slice_size}, so not judged."
    )
    return GateCheck(part.where, gate.metric, value, f"{gate.minimum_slice_size} rows or more", None, reason)


def _defined(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _number(value: float) -> str:
    return f"{value:.4g}"


def _distinct(value: float, limit: float) -> tuple[str, str]:
    """Both numbers, with enough digits to show which is greater."""
    for digits in range(4, 18):
        texts = f"{value:.{digits}g}", f"{limit:.{digits}g}"
        if value == limit or texts[0] != texts[1]:
            return texts
    return repr(value), repr(limit)
