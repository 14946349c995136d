"""Scoring section of the report: how the predictions were made, and their drift from training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.report import formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.data_view import Feature, by_kind, feature
from headrace.pipelines.report.values import items, mapping, number, numbers, text

# Indices among the 21 quantiles of a column: 5, 25, 50, 75 and 95 %.
_SHOWN = (1, 5, 10, 15, 19)


@dataclass(frozen=True)
class ScoringView:
    """Content of the scoring section.

    Attributes:
        rate: rows per second.
        drift: the Jensen-Shannon divergence from the label in training, or None if not known.
        facts: (name, value) of the scoring.
        numeric: numeric outputs, and the label in training after the output that predicts it.
        categorical: other outputs.
        rules: rows that broke a rule of the Problem: column, rule, refused rows, predicted rows.
        quantiles: of the output that predicts the label: percentage of rows, prediction, label, difference.
    """

    rate: str
    drift: str | None
    facts: tuple[tuple[str, str], ...]
    numeric: tuple[Feature, ...]
    categorical: tuple[Feature, ...]
    rules: tuple[tuple[str, str, str, str], ...]
    quantiles: tuple[tuple[str, str, str, str], ...]


def scoring(artifacts: Artifacts) -> ScoringView | None:
    """The scoring of a run; None for other pipelines."""
    step = mapping(artifacts.steps.get("score"))
    result, manifest = mapping(step.get("result")), artifacts.manifest
    known = manifest or result
    if artifacts.counted != "score" or not known:
        return None
    distribution = mapping(manifest.get("distribution"))
    training = mapping(distribution.get("training"))
    outputs = mapping(distribution.get("predictions"))
    features = []
    for name, stats in outputs.items():
        features.append(feature(str(name), mapping(stats)))
        if name == training.get("output"):
            features.append(feature("label in training", mapping(training.get("label"))))
    numeric, categorical = by_kind(features)
    apart = number(training.get("jensen_shannon"))
    approach = text(known.get("approach")) or text(result.get("approach")) or formats.ABSENT
    reason = text(result.get("approach_reason"))
    facts = [
        ("Model version", text(known.get("model_version"))),
        ("Approach", f"{approach}: {reason}" if reason else approach),
        ("Written as", text(manifest.get("sink"))),
        ("Into", text(known.get("destination"))),
        ("Folders of", text(manifest.get("partition_by"))),
        ("Rules of the Problem", _mode(mapping(known.get("rules")))),
        *(("Note", str(note)) for note in items(manifest.get("notes"))),
    ]
    return ScoringView(
        rate=_rate(step, number(known.get("rows_in"))),
        drift=None if apart is None else formats.significant(apart, 3),
        facts=tuple((name, value) for name, value in facts if value is not None),
        numeric=tuple(numeric),
        categorical=tuple(categorical),
        rules=_rules(mapping(known.get("rules"))),
        quantiles=_quantiles(mapping(outputs.get(text(training.get("output")) or "")), training),
    )


def _mode(rules: Mapping[str, Any]) -> str | None:
    texts = {
        "enforce": "enforced: rows that break one are refused",
        "warn": "counted: rows that break one are predicted",
    }
    return texts.get(text(rules.get("mode")) or "")


def _rules(rules: Mapping[str, Any]) -> tuple[tuple[str, str, str, str], ...]:
    counts = [
        {
            (column, reason): number(rows) or 0.0
            for reason, of in mapping(rules.get(what)).items()
            for column, rows in mapping(of).items()
        }
        for what in ("refused", "predicted")
    ]
    return tuple(
        (str(column), str(reason), *(formats.count(of.get((column, reason), 0.0)) for of in counts))  # type: ignore[misc]
        for column, reason in sorted({*counts[0], *counts[1]})
    )


def _rate(step: Mapping[str, Any], rows: float | None) -> str:
    """Rows per second over the time of the step, without imports, but with loading the model."""
    seconds = (number(step.get("seconds")) or 0.0) - (number(step.get("import_seconds")) or 0.0)
    return formats.ABSENT if rows is None or seconds <= 0 else formats.count(rows / seconds)


def _quantiles(predicted: Mapping[str, Any], training: Mapping[str, Any]) -> tuple[tuple[str, str, str, str], ...]:
    columns = [
        numbers(one)
        for one in (
            predicted.get("quantiles"),
            mapping(training.get("label")).get("quantiles"),
            training.get("quantiles_apart"),
        )
    ]
    if any(len(column) <= _SHOWN[-1] for column in columns):
        return ()
    return tuple(
        (f"{5 * place} %", *(formats.significant(column[place]) for column in columns))  # type: ignore[misc]
        for place in _SHOWN
    )
