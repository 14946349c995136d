"""Evaluation section of the report: metrics compared with gate and baseline, the gate's checks, and slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.pipelines.report import formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.values import items, mapping, number, objects, text

# Maximum slices and columns on the page; evaluation.json has them all.
MOST_SLICES = 60
MOST_FEATURES = 30
# As `evaluate` warns of slices of the gate.
_FEW_SLICE_ROWS = 30


@dataclass(frozen=True)
class Strip:
    """A dot with whiskers on a horizontal scale, and the values that it is compared with; positions in percent."""

    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    champion: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    whole: float | None = None


@dataclass(frozen=True)
class Metric:
    """A metric on the test split."""

    code: str
    name: str
    value: str
    interval: str
    baseline: str
    champion: str
    bound: str
    strip: Strip


@dataclass(frozen=True)
class SliceView:
    """A metric on the rows where a feature has a value; `verdict` is passed, failed, "too few" or ""."""

    feature: str
    value: str
    rows: str
    measured: str
    interval: str
    verdict: str
    strip: Strip


@dataclass(frozen=True)
class CheckView:
    """A bound of the gate, compared with the measured value."""

    where: str
    metric: str
    measured: str
    bound: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class FeatureBar:
    """Importance of a column: `width` of its bar in percent of the most important one's."""

    name: str
    increase: str
    deviation: str
    width: float


@dataclass(frozen=True)
class ImportanceView:
    """Feature importance: the increase of `metric` when a column is shuffled among `rows` of `split_rows` eval rows."""

    metric: str
    value: str
    rows: str
    split_rows: str
    repeats: str
    bars: list[FeatureBar]
    left_out: int


@dataclass(frozen=True)
class Threshold:
    """A row of the threshold table; `mark` is "chosen", or what it is the best by."""

    threshold: str
    positive: str
    precision: str
    recall: str
    cost: str
    mark: str


@dataclass(frozen=True)
class Evaluation:
    """Content of the evaluation section."""

    task: str
    rows: str
    weight: str | None
    confidence: str
    blessed: bool | None
    gate_metric: str | None
    has_baseline: bool
    has_champion: bool
    metrics: list[Metric] = field(default_factory=list)
    checks: list[CheckView] = field(default_factory=list)
    slices: list[SliceView] = field(default_factory=list)
    slice_metric: str = ""
    slice_ticks: list[tuple[float, str]] = field(default_factory=list)
    slices_left_out: int = 0
    warnings: list[str] = field(default_factory=list)
    importance: ImportanceView | None = None
    thresholds: list[Threshold] = field(default_factory=list)
    threshold_rows: str = ""
    has_costs: bool = False


def evaluation(artifacts: Artifacts) -> Evaluation | None:
    """The evaluation; None if the run has none."""
    known = artifacts.evaluation
    metrics = mapping(known.get("metrics"))
    if not metrics:
        return None
    gate = mapping(known.get("gate"))
    gate_metric = text(gate.get("metric"))
    baseline = mapping(known.get("baseline"))
    champion = mapping(mapping(known.get("champion")).get("metrics"))
    # The gate's metric comes first.
    order = sorted(metrics, key=lambda name: name != gate_metric)
    blessed = known.get("blessed")
    slice_metric = gate_metric or order[0]
    slices, ticks, left_out = _slices(known, slice_metric, gate)
    return Evaluation(
        task=text(known.get("task")) or "",
        rows=formats.count(number(known.get("rows"))),
        weight=text(known.get("weight")),
        confidence=formats.plain(100 * (number(known.get("confidence")) or 0.95)),
        blessed=blessed if isinstance(blessed, bool) else None,
        gate_metric=gate_metric,
        has_baseline=bool(baseline),
        has_champion=bool(champion),
        metrics=[
            _metric(name, mapping(metrics[name]), baseline, champion, gate if name == gate_metric else {})
            for name in order
        ],
        checks=_checks(known),
        slices=slices,
        slice_metric=slice_metric,
        slice_ticks=ticks,
        slices_left_out=left_out,
        warnings=[str(warning) for warning in items(known.get("warnings"))],
        importance=_importance(mapping(known.get("importance"))),
        thresholds=_thresholds(mapping(known.get("thresholds"))),
        threshold_rows=formats.count(number(mapping(known.get("thresholds")).get("rows"))),
        has_costs=bool(mapping(mapping(known.get("thresholds")).get("costs"))),
    )


def _importance(known: Mapping[str, Any]) -> ImportanceView | None:
    features = objects(known.get("features"))
    if not features:
        return None
    kept = features[:MOST_FEATURES]
    increases = [number(feature.get("increase")) for feature in kept]
    most = max([each for each in increases if each is not None], default=0.0)
    return ImportanceView(
        metric=formats.name(text(known.get("metric")) or ""),
        value=formats.significant(number(known.get("value"))),
        rows=formats.count(number(known.get("rows"))),
        split_rows=formats.count(number(known.get("split_rows"))),
        repeats=formats.count(number(known.get("repeats"))),
        bars=[
            FeatureBar(
                name=str(feature.get("name")),
                increase="not usable" if increase is None else formats.significant(increase),
                deviation="" if increase is None else formats.significant(number(feature.get("deviation"))),
                # A column whose shuffling helps by chance has no bar.
                width=100 * max(increase or 0.0, 0.0) / most if most > 0 else 0.0,
            )
            for feature, increase in zip(kept, increases, strict=True)
        ],
        left_out=len(features) - len(kept),
    )


def _thresholds(known: Mapping[str, Any]) -> list[Threshold]:
    best = mapping(known.get("best"))
    names = {"cost": "lowest cost", "f1_score": "best F1"}
    found = []
    for row in objects(known.get("table")):
        at = number(row.get("threshold"))
        marks = ["chosen"] if at == number(known.get("chosen")) else []
        marks += [names.get(str(best.get("by")), "best")] if best and at == number(best.get("threshold")) else []
        found.append(
            Threshold(
                threshold=formats.plain(at) if at is not None else formats.ABSENT,
                positive=formats.count(number(row.get("predicted_positive"))),
                precision=formats.significant(number(row.get("precision"))),
                recall=formats.significant(number(row.get("recall"))),
                cost=formats.significant(number(row.get("cost"))),
                mark=", ".join(marks),
            )
        )
    return found


def _metric(
    name: str,
    measured: Mapping[str, Any],
    baseline: Mapping[str, Any],
    champion: Mapping[str, Any],
    gate: Mapping[str, Any],
) -> Metric:
    value, low, high = (number(measured.get(n)) for n in ("value", "low", "high"))
    base, best = number(baseline.get(name)), number(champion.get(name))
    most, least = number(gate.get("at_most")), number(gate.get("at_least"))
    scale = Scale.over([value, low, high, base, best, most, least], padding=0.08)
    bounds = [f"{sign} {formats.plain(bound)}" for sign, bound in (("≤", most), ("≥", least)) if bound is not None]
    bounds += ["better than the baseline"] if gate.get("beats_baseline") is True else []
    return Metric(
        code=name,
        name=formats.name(name),
        value=formats.significant(value),
        interval=_interval(low, high),
        baseline=formats.significant(base),
        champion=formats.significant(best),
        bound=", ".join(bounds) or "",
        strip=Strip(*(scale.place(v) for v in (value, low, high, base, best, most, least))),
    )


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f"{formats.significant(low)} to {formats.significant(high)}"


def _checks(evaluation: Mapping[str, Any]) -> list[CheckView]:
    reasons = [str(reason) for reason in items(evaluation.get("reasons"))]
    found = []
    for i, check in enumerate(objects(evaluation.get("checks"))):
        found.append(
            CheckView(
                where=text(check.get("where")) or "",
                metric=formats.name(text(check.get("metric")) or ""),
                measured=formats.significant(number(check.get("measured"))),
                bound=text(check.get("bound")) or "",
                verdict=_verdict(check.get("passed")),
                reason=reasons[i] if i < len(reasons) else "",
            )
        )
    found.sort(key=lambda check: check.verdict != "failed")
    return found


def _verdict(passed: object) -> str:
    return {True: "passed", False: "failed"}.get(passed, "not judged") if isinstance(passed, bool) else "not judged"


def _slices(
    evaluation: Mapping[str, Any], metric: str, gate: Mapping[str, Any]
) -> tuple[list[SliceView], list[tuple[float, str]], int]:
    whole = mapping(mapping(evaluation.get("metrics")).get(metric))
    every = objects(evaluation.get("slices"))
    kept = every[:MOST_SLICES]
    measured = [mapping(mapping(s.get("metrics")).get(metric)) for s in kept]
    if not any(number(m.get("value")) is not None for m in measured):
        return [], [], 0
    most, least = number(gate.get("at_most")), number(gate.get("at_least"))
    shown = [number(m.get(n)) for m in [whole, *measured] for n in ("value", "low", "high")]
    scale = Scale.over([*shown, most, least], padding=0.04)
    verdicts: dict[str, str] = {}
    for check in objects(evaluation.get("checks")):
        where, verdict = str(check.get("where")), _verdict(check.get("passed"))
        verdicts[where] = "failed" if verdicts.get(where) == "failed" else verdict
    rows = [
        _slice(
            "",
            "all rows",
            number(evaluation.get("rows")),
            whole,
            verdicts.get("all rows", ""),
            scale,
            most,
            least,
            whole,
        )
    ]
    for part, values in zip(kept, measured, strict=True):
        feature, value = str(part.get("feature")), str(part.get("value"))
        few = (number(part.get("rows")) or 0) < _FEW_SLICE_ROWS
        verdict = verdicts.get(f"{feature}={value}", "few rows" if few else "")
        rows.append(_slice(feature, value, number(part.get("rows")), values, verdict, scale, most, least, whole))
    smaller = sum(int(number(n) or 0) for n in mapping(evaluation.get("slices_left_out")).values())
    return rows, [(scale(v), s) for v, s in scale.ticks(6)], len(every) - len(kept) + smaller


def _slice(
    feature: str,
    value: str,
    rows: float | None,
    measured: Mapping[str, Any],
    verdict: str,
    scale: Scale,
    most: float | None,
    least: float | None,
    whole: Mapping[str, Any],
) -> SliceView:
    centre, low, high = (number(measured.get(n)) for n in ("value", "low", "high"))
    return SliceView(
        feature=feature,
        value=value,
        rows=formats.count(rows),
        measured=formats.significant(centre),
        interval=_interval(low, high),
        verdict=verdict,
        strip=Strip(
            value=scale.place(centre),
            low=scale.place(low),
            high=scale.place(high),
            at_most=scale.place(most),
            at_least=scale.place(least),
            whole=scale.place(number(whole.get("value"))),
        ),
    )
