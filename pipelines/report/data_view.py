"""Data section of the report: row counts, quarantine by reason, and feature statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from headrace.pipelines.report import formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.charts import density
from headrace.pipelines.report.values import items, mapping, number, numbers, text

_TOP_VALUES = 4
_REASONS = {
    "missing_value": "A required value is missing",
    "not_a_number": "The value is not a number",
    "out_of_range": "The value is outside its range",
    "unknown_value": "The value is not in the vocabulary",
    "missing_key": "The key is missing",
    "duplicate_key": "The key occurs in an earlier row",
    "too_few_fields": "The row has too few fields",
    "too_many_fields": "The row has too many fields",
    "bad_span": "The span is quarantined as a whole",
    "not_finite": "The model's prediction is not a finite number",
    "model_failed": "The model failed on the row",
}


@dataclass(frozen=True)
class BarSegment:
    """A part of a whole: `share` is its fraction, `width` the length of its bar in percent."""

    name: str
    rows: str
    share: str
    width: float
    explanation: str = ""


@dataclass(frozen=True)
class QuarantinedRowView:
    """A quarantined row."""

    place: str
    column: str
    reason: str
    message: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RowCounts:
    """Row counts by split and quarantine reason."""

    rows_in: str
    rows_out: str
    quarantined: str
    any_quarantined: bool
    parts: tuple[BarSegment, ...]
    reasons: tuple[BarSegment, ...]
    budget: str | None
    examples: tuple[QuarantinedRowView, ...]
    not_shown: str | None


def rows(artifacts: Artifacts) -> RowCounts | None:
    """Row counts of the run; None where the step that counts them has no output."""
    manifest = artifacts.manifest
    result = mapping(mapping(artifacts.steps.get(artifacts.counted)).get("result"))
    known = manifest or result
    rows_in, rows_out = number(known.get("rows_in")), number(known.get("rows_out"))
    if rows_in is None:
        return None
    quarantine = mapping(manifest.get("quarantine"))
    bad = number(known.get("rows_quarantined")) or 0.0
    total = rows_in or 1.0
    splits = []
    for name, split in mapping(known.get("splits")).items():
        count = number(split) if number(split) is not None else number(mapping(split).get("rows"))
        splits.append((str(name), count or 0.0))
    if artifacts.counted == "score":
        splits.append(("predicted", rows_out or 0.0))
    parts = [_part(name, n, total, total) for name, n in [*splits, ("quarantined", bad)] if n]
    reasons = mapping(quarantine.get("reasons")) or mapping(result.get("reasons"))
    counted = sorted(((str(k), number(v) or 0.0) for k, v in reasons.items()), key=lambda r: (-r[1], r[0]))
    most = max((n for _, n in counted), default=1.0) or 1.0
    budget = number(quarantine.get("budget"))
    shown = len(artifacts.quarantined)
    return RowCounts(
        rows_in=formats.count(rows_in),
        rows_out=formats.count(rows_out),
        quarantined=formats.count(bad),
        any_quarantined=bad > 0,
        parts=tuple(parts),
        reasons=tuple(_part(name, n, bad or 1.0, most, _REASONS.get(name, "")) for name, n in counted),
        budget=None
        if budget is None
        else f"{formats.percent(bad / total, 2)} of the rows; the maximum is {formats.plain(100 * budget)} %",
        examples=tuple(_quarantined(row) for row in artifacts.quarantined),
        not_shown=formats.count(bad - shown) if shown and bad > shown else None,
    )


def _part(name: str, n: float, total: float, widest: float, explanation: str = "") -> BarSegment:
    return BarSegment(name, formats.count(n), formats.percent(n / total), 100 * n / widest, explanation)


def _quarantined(row: Mapping[str, Any]) -> QuarantinedRowView:
    place = f"{text(row.get('file')) or formats.ABSENT}, row {formats.count(number(row.get('row')))}"
    reason = text(row.get("reason")) or formats.ABSENT
    also = len(items(row.get("also")))
    message = (text(row.get("message")) or "") + (f" (and {also} more)" if also else "")
    values = tuple((str(k), "" if v is None else str(v)) for k, v in mapping(row.get("values")).items())
    return QuarantinedRowView(place, text(row.get("column")) or formats.ABSENT, reason, message, values)


@dataclass(frozen=True)
class Feature:
    """A column's statistics: of a numeric one, `cells` and `shape`; of a categorical one, `top`."""

    name: str
    role: str
    kind: str
    missing: str
    any_missing: bool
    cells: tuple[str, ...] = ()
    shape: Markup | None = None
    distinct: str = ""
    top: tuple[BarSegment, ...] = ()


def features(artifacts: Artifacts) -> tuple[list[Feature], list[Feature]]:
    """The numeric and the categorical columns, the label first, then in the order of the statistics."""
    columns = [mapping(c) for c in items(artifacts.schema.get("columns"))]
    roles = {str(c.get("name")): str(c.get("role")) for c in columns}
    found = [
        feature(str(name), mapping(stats), roles.get(str(name), "feature"))
        for name, stats in mapping(artifacts.statistics.get("columns")).items()
    ]
    found.sort(key=lambda feature: feature.role != "label")
    return by_kind(found)


def feature(name: str, stats: Mapping[str, Any], role: str = "") -> Feature:
    """A column, from its entry in statistics.json."""
    return (_numeric if stats.get("kind") == "numeric" else _categorical)(name, role, stats)


def by_kind(features: Iterable[Feature]) -> tuple[list[Feature], list[Feature]]:
    """Splits features into numeric and categorical ones."""
    every = list(features)
    return [f for f in every if f.kind == "numeric"], [f for f in every if f.kind != "numeric"]


def _missing(stats: Mapping[str, Any]) -> tuple[str, bool]:
    present, missing = number(stats.get("count")) or 0.0, number(stats.get("missing")) or 0.0
    if not missing:
        return "0", False
    return f"{formats.count(missing)} ({formats.percent(missing / (present + missing))})", True


def _numeric(name: str, role: str, stats: Mapping[str, Any]) -> Feature:
    quantiles = [q for q in numbers(stats.get("quantiles")) if q is not None]
    middle = quantiles[len(quantiles) // 2] if quantiles else None
    shown = [number(stats.get(n)) for n in ("mean", "standard_deviation", "minimum")]
    cells = [*shown, middle, number(stats.get("maximum"))]
    missing, any_missing = _missing(stats)
    return Feature(
        name,
        role,
        "numeric",
        missing,
        any_missing,
        cells=(formats.count(number(stats.get("count"))), *(formats.plain(c) for c in cells)),
        shape=density(quantiles, title=f"The distribution of {name}"),
    )


def _categorical(name: str, role: str, stats: Mapping[str, Any]) -> Feature:
    present = number(stats.get("count")) or 0.0
    vocabulary = [v for v in items(stats.get("vocabulary")) if isinstance(v, list) and len(v) == 2]
    top = [_part(str(v), number(n) or 0.0, present or 1.0, present or 1.0) for v, n in vocabulary[:_TOP_VALUES]]
    missing, any_missing = _missing(stats)
    return Feature(
        name,
        role,
        "categorical",
        missing,
        any_missing,
        cells=(formats.count(present),),
        distinct=formats.count(number(stats.get("distinct"))),
        top=tuple(top),
    )
