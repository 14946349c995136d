"""Training and prediction sections of the report: learning curves, residuals, confusion, ROC, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from headrace.components.train.loop.budget import NOT_LIMITS
from headrace.pipelines.report import charts, formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.evaluation_view import MOST_SLICES
from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.values import items, mapping, number, numbers, objects, pairs, text

_MOST_CLASSES = 30


@dataclass(frozen=True)
class Residuals:
    """Quantiles of actual minus predicted in a slice: their positions in percent, and their text."""

    feature: str
    value: str
    rows: str
    places: tuple[float, float, float, float, float]
    median: str
    range: str


def residuals(artifacts: Artifacts) -> tuple[list[Residuals], list[tuple[float, str]], float]:
    """A box for each slice, the ticks of their common scale, and the position of zero on it."""
    kept = []
    for part in objects(artifacts.evaluation.get("residuals_by_slice"))[:MOST_SLICES]:
        quantiles = [q for q in numbers(part.get("quantiles")) if q is not None]
        if len(quantiles) == 5:
            kept.append((part, quantiles))
    if not kept:
        return [], [], 0.0
    scale = Scale.over([0.0, *(q for _, quantiles in kept for q in quantiles)], padding=0.04)
    boxes = [
        Residuals(
            str(part.get("feature")),
            str(part.get("value")),
            formats.count(number(part.get("rows"))),
            (scale(q[0]), scale(q[1]), scale(q[2]), scale(q[3]), scale(q[4])),
            formats.significant(q[2], 3),
            f"{formats.significant(q[0], 3)} to {formats.significant(q[4], 3)}",
        )
        for part, q in kept
    ]
    return boxes, [(scale(v), s) for v, s in scale.ticks(6)], scale(0.0)


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix; `strength` is its percentage of the actual class's rows."""

    rows: str
    share: str
    strength: float
    right: bool


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix: a row for each actual class, a column for each predicted one."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]


def confusion(artifacts: Artifacts) -> Confusion | None:
    """The confusion matrix; None if the run has none, or if it is too large for the page."""
    matrix = mapping(mapping(artifacts.evaluation.get("curves")).get("confusion_matrix"))
    classes = tuple(str(c) for c in items(matrix.get("classes")))
    counts = [[n or 0.0 for n in numbers(row)] for row in items(matrix.get("counts"))]
    if not classes or len(classes) > _MOST_CLASSES or len(counts) != len(classes):
        return None
    rows = []
    for i, row in enumerate(counts):
        total = sum(row)
        cells = tuple(
            Cell(formats.count(n), formats.percent(n / total, 0) if total else "", 100 * n / (total or 1.0), i == j)
            for j, n in enumerate(row)
        )
        rows.append((classes[i], formats.count(total), cells))
    return Confusion(classes, tuple(rows))


def curve_pictures(artifacts: Artifacts, label: str) -> dict[str, Markup]:
    """The available charts of the evaluation by name: predicted_actual, roc, precision_recall, calibration."""
    curves = mapping(artifacts.evaluation.get("curves"))
    metrics = mapping(artifacts.evaluation.get("metrics"))
    seen = mapping(curves.get("predicted_actual"))
    roc, recall = mapping(curves.get("roc")), mapping(curves.get("precision_recall"))
    calibration = mapping(curves.get("calibration"))
    keys = [str(key) for key in items(seen.get("key"))]
    area = formats.significant(number(mapping(metrics.get("auc")).get("value")))
    area_pr = formats.significant(number(mapping(metrics.get("auc_pr")).get("value")))
    share = _positive_share(artifacts)
    calibrated = [
        (p, o, w)
        for p, o, w in zip(*(numbers(calibration.get(n)) for n in ("predicted", "observed", "rows")), strict=False)
        if p is not None and o is not None and w is not None
    ]
    pictures = {
        "predicted_actual": charts.predicted_actual(pairs(seen.get("actual"), seen.get("predicted")), keys, label),
        "roc": charts.unit_curve(
            pairs(roc.get("false_positive_rate"), roc.get("true_positive_rate")),
            x_name="False positive rate",
            y_name="True positive rate",
            chance=((0, 0), (1, 1)),
            chance_name="chance",
            title=f"ROC curve; the area under it is {area}.",
        ),
        "precision_recall": charts.unit_curve(
            pairs(recall.get("recall"), recall.get("precision")),
            x_name="Recall",
            y_name="Precision",
            chance=((0, share), (1, share)),
            chance_name="chance",
            title=f"Precision-recall curve; the area under it is {area_pr}.",
        ),
        "calibration": charts.unit_curve(
            [(p, o) for p, o, _ in calibrated],
            x_name="Predicted probability",
            y_name="Observed fraction",
            chance=((0, 0), (1, 1)),
            chance_name="calibrated",
            title="Calibration: the observed fraction of positive rows, against the predicted probability.",
            weights=[w for _, _, w in calibrated],
        ),
    }
    return {name: picture for name, picture in pictures.items() if picture is not None}


def _positive_share(artifacts: Artifacts) -> float:
    counts = [
        [n or 0.0 for n in numbers(row)]
        for row in items(mapping(mapping(artifacts.evaluation.get("curves")).get("confusion_matrix")).get("counts"))
    ]
    total = sum(sum(row) for row in counts)
    return sum(counts[1]) / total if len(counts) == 2 and total else 0.5


def learning(artifacts: Artifacts) -> Markup | None:
    """The learning curves."""
    history = mapping(artifacts.training.get("history"))
    best = number(artifacts.training.get("best_epoch"))
    return charts.learning_curves(
        numbers(history.get("loss")), numbers(history.get("eval_loss")), None if best is None else int(best)
    )


def training_facts(artifacts: Artifacts) -> list[tuple[str, str]]:
    """Facts of the training as (name, value)."""
    training = artifacts.training
    strategy, hardware = mapping(training.get("strategy")), mapping(training.get("hardware"))
    replicas, bound = number(training.get("replicas")), mapping(training.get("bound"))
    facts: list[tuple[str, str | None]] = [
        ("Ended by", text(training.get("stopped"))),
        ("Epochs", _counted(training, "epochs")),
        ("Steps", _counted(training, "steps")),
        ("Parameters", _counted(training, "parameters")),
        ("Batch size", _counted(training, "batch_size")),
        ("Learning rate", _plain(training, "learning_rate")),
        ("Speed", _suffixed(_counted(training, "rows_per_second"), " rows/s")),
        (
            "Waiting for input",
            formats.percent(share) if (share := number(training.get("input_share"))) is not None else None,
        ),
        ("What bounds it", text(bound.get("text"))),
        ("Strategy", ": ".join(part for n in ("name", "why") if (part := text(strategy.get(n)))) or None),
        ("Replicas", None if replicas is None or replicas < 2 else formats.count(replicas)),
        ("Device", text(hardware.get("device"))),
        ("Precision", text(strategy.get("precision"))),
        *_course(training),
        *_warm_start(mapping(training.get("warm_start"))),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _course(training: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The reason of the end, resumed steps, and the budget."""
    resumed = [n for step in items(mapping(training.get("checkpoints")).get("resumed_at_steps")) if (n := number(step))]
    yield "Resumed at step", ", ".join(formats.count(step) for step in resumed) or None
    budget = mapping(training.get("budget"))
    limits = [f"{name} {value}" for name, value in budget.items() if name not in NOT_LIMITS and text(value)]
    hours, cost = number(budget.get("hours")), number(budget.get("cost"))
    if limits and hours is not None:
        paid = "" if cost is None else f", {formats.significant(cost)} paid"
        yield "Budget", f"{', '.join(limits)}; {formats.significant(hours)} h used{paid}"
    for note in items(training.get("notes")):
        yield "Note", text(note)


def _warm_start(start: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    carried, parameters = number(start.get("parameters_carried")), number(start.get("parameters"))
    if carried is not None and parameters:
        version = text(start.get("model_version")) or formats.ABSENT
        yield "Started from", f"version {version}, {formats.percent(carried / parameters)} of the parameters"
    for note in items(start.get("notes")):
        yield "Not carried over", text(note)


def _counted(values: Mapping[str, Any], name: str) -> str | None:
    value = number(values.get(name))
    return None if value is None else formats.count(value)


def _plain(values: Mapping[str, Any], name: str) -> str | None:
    value = number(values.get(name))
    return None if value is None else formats.plain(value)


def _suffixed(value: str | None, suffix: str) -> str | None:
    return None if value is None else value + suffix
