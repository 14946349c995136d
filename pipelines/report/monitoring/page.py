"""Monitoring page: writes a Monitoring as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from headrace.pipelines.report import formats
from headrace.pipelines.report.monitoring.timeline import Series, TimedValue, timeline
from headrace.pipelines.report.page import template
from headrace.pipelines.report.values import items, mapping, number, objects, text

_ALARMS_SHOWN = 30
_FRACTIONS = ("missing", "unknown", "invalid")
_NAMES = {"unknown": "new categories"}


@dataclass(frozen=True)
class _Column:
    """A column's section: its largest values over all windows, its charts, and categories that are new or missing."""

    name: str
    role: str
    cells: tuple[str, ...]
    alarms: int
    distances: Markup | None
    fractions: Markup | None
    notes: tuple[str, ...]


def render(document: Mapping[str, Any], alarms: list[Mapping[str, Any]]) -> str:
    """The page as HTML; equal arguments give equal bytes.

    Args:
        document: content of monitoring.json.
        alarms: the events of alarms.jsonl.
    """
    columns = [_column(str(name), mapping(column), document, alarms) for name, column in document["columns"].items()]
    labels, ages = mapping(document.get("labels")), mapping(document.get("staleness"))
    reference = mapping(document.get("reference"))
    page = template("monitoring.html").render(
        problem=text(document.get("problem")) or "A problem",
        measured=text(document.get("measured_at")) or formats.ABSENT,
        reference=f"{text(reference.get('kind'))} {text(reference.get('digest'))}",
        alarms=[_sentence(alarm) for alarm in alarms[:_ALARMS_SHOWN]],
        count=len(alarms),
        more=max(0, len(alarms) - _ALARMS_SHOWN),
        cards=_cards(document, labels, ages),
        metric=_metric(document, alarms),
        labels=[(formats.name(name), formats.count(number(rows))) for name, rows in labels.items()],
        columns=sorted(columns, key=lambda column: -column.alarms),
        absent=[str(name) for name in items(document.get("absent"))],
    )
    return str(page).rstrip() + "\n"


def _cards(
    document: Mapping[str, Any], labels: Mapping[str, Any], ages: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    windows = items(document.get("windows"))
    untimed = number(document.get("rows_without_time")) or 0
    cards = [
        (
            "Rows",
            formats.count(number(document.get("rows"))),
            f"in {len(windows):,} windows" + (f", {untimed:,.0f} without a time" if untimed else ""),
        )
    ]
    if labels:
        share = f"of {formats.count(number(labels.get('sampled')))} predictions"
        cards.append(("Labels joined", formats.count(number(labels.get("joined"))), share))
    if (age := number(ages.get("data_age_hours"))) is not None:
        cards.append(("Age of the data", formats.seconds(max(age, 0.0) * 3600), f"newest row {ages.get('newest_row')}"))
    if (age := number(ages.get("model_age_days"))) is not None:
        cards.append(("Age of the model", formats.seconds(max(age, 0.0) * 86_400), f"since {ages.get('trained')}"))
    return cards


def _metric(document: Mapping[str, Any], alarms: list[Mapping[str, Any]]) -> tuple[str, Markup | None] | None:
    judged = mapping(document.get("metric"))
    name = text(judged.get("name"))
    if name is None:
        return None
    values = []
    for at, window in _windows(document):
        found = mapping(mapping(mapping(window.get("performance")).get("metrics")).get(name))
        alarm = _is_alarm(alarms, window, name, ("metric", "metric_loss"))
        ends = (number(found.get("low")), number(found.get("high")))
        values.append(TimedValue(at, number(found.get("value")), *ends, alarm))
    bounds = {"at evaluation": "evaluated", "at most": "at_most", "at least": "at_least"}
    lines = [(shown, number(judged.get(field))) for shown, field in bounds.items()]
    title = f"{formats.name(name)} on labels, by window of the predictions"
    thresholds = [(shown, value) for shown, value in lines if value is not None]
    line = Series(formats.short_name(name), "eval", values)
    return formats.name(name), timeline(
        [line], thresholds, y_name=formats.name(name), title=title, timed=_timed(document)
    )


def _column(
    name: str, column: Mapping[str, Any], document: Mapping[str, Any], alarms: list[Mapping[str, Any]]
) -> _Column:
    thresholds = mapping(document.get("thresholds"))
    is_output = column.get("role") == "output"
    most = number(mapping(thresholds.get("columns")).get(name)) or number(thresholds.get("drift"))
    if is_output and number(thresholds.get("prediction_drift")) is not None:
        most = number(thresholds.get("prediction_drift"))
    windows = [(at, window, mapping(mapping(window.get("columns")).get(name))) for at, window in _windows(document)]

    def line(measure: str, css: str, kinds: tuple[str, ...]) -> Series:
        values = [
            TimedValue(
                at,
                number(mapping(found.get(measure)).get("value")),
                alarm=_is_alarm(alarms, window, name, kinds),
            )
            for at, window, found in windows
        ]
        return Series(_NAMES.get(measure, measure), css, values)

    def largest(measure: str) -> float | None:
        values = [number(mapping(found.get(measure)).get("value")) for _, _, found in windows]
        return max((value for value in values if value is not None), default=None)

    skew = ("skew", "prediction_drift")
    distances = timeline(
        [line("skew", "eval", skew), line("drift", "train", ("drift", "prediction_drift"))],
        [] if most is None else [("threshold", most)],
        y_name="Divergence",
        title=f"Divergence of {name} from the reference and from the window before",
        timed=_timed(document),
    )
    some = [measure for measure in _FRACTIONS if (largest(measure) or 0.0) > 0]
    fractions = timeline(
        [line(measure, "eval" if at == 0 else "train", (measure,)) for at, measure in enumerate(some)],
        [],
        y_name="Fraction of rows",
        title=f"Fractions of rows of {name} that are {', '.join(some)}",
        timed=_timed(document),
    )
    cells = (
        *(formats.significant(largest(measure), 3) for measure in ("skew", "drift")),
        *(formats.percent(largest(measure)) for measure in _FRACTIONS),
    )
    role = "prediction" if is_output else text(column.get("kind")) or ""
    own = sum(alarm.get("feature") == name for alarm in alarms)
    return _Column(name, role, cells, own, distances, fractions, _notes([found for _, _, found in windows]))


def _notes(windows: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """Categories that are new or missing in the last window that has any."""
    notes = []
    for field, shown in (("new_categories", "New"), ("missing_categories", "Missing")):
        for found in reversed(windows):
            if values := items(found.get(field)):
                names = [f"{v[0]} ({v[1]:,} rows)" if isinstance(v, list) else str(v) for v in values]
                notes.append(f"{shown}: {', '.join(names)}")
                break
    return tuple(notes)


def _windows(document: Mapping[str, Any]) -> list[tuple[float, Mapping[str, Any]]]:
    found = objects(document.get("windows"))
    if not _timed(document):
        return [(float(at), window) for at, window in enumerate(found, 1)]
    return [(datetime.fromisoformat(str(window["begin"])).timestamp(), window) for window in found]


def _timed(document: Mapping[str, Any]) -> bool:
    return document.get("window_seconds") is not None


def _is_alarm(alarms: list[Mapping[str, Any]], window: Mapping[str, Any], feature: str, kinds: tuple[str, ...]) -> bool:
    begin = window.get("begin")
    return any(
        alarm.get("feature") == feature
        and alarm.get("kind") in kinds
        and (items(alarm.get("window")) or [None])[0] == begin
        for alarm in alarms
    )


def _sentence(alarm: Mapping[str, Any]) -> str:
    of = f" of {alarm['feature']}" if alarm.get("feature") else ""
    window = items(alarm.get("window"))
    when = f", {window[0]} to {window[1]}" if window else ""
    value, threshold = number(alarm.get("value")), number(alarm.get("threshold"))
    kind = formats.name(str(alarm.get("kind")))
    return f"{kind}{of}: {formats.significant(value)}, threshold {formats.plain(threshold)}{when}"
