"""Starts a model from the weights of an earlier one, and lists what could not be carried over.

Weights are carried by what they stand for. A row of a table belongs to a value, not to a number, so a vocabulary that
grew, or is in another order, keeps what was learned; a value that is new starts as the unknown one, which is what the
earlier model took it for. Rows of hashes, buckets and crosses are carried where the declaration is the same. What a
new feature adds starts at nothing. Numbers and the label keep the scale of the earlier model, on which all its weights
rest. So before its first step the new model answers as the earlier one did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from headrace.components.train.model import warm_layouts
from headrace.components.train.model.trained_model import Model
from headrace.components.train.model.warm_layouts import Axis
from headrace.components.train.model.wide_and_deep import CORE
from headrace.core import storage
from headrace.core.artifacts import model as model_artifact
from headrace.core.errors import UsageError
from headrace.core.problem import Numeric, Problem

Array = np.ndarray[Any, Any]
Statistics = Mapping[str, Mapping[str, Any]]

# A scale that moved by less than this share of a deviation is the same for all that training notices.
_NOTICEABLE = 0.1


@dataclass(frozen=True)
class WarmStart:
    """An earlier Model that training starts from.

    Attributes:
        uri: where it is.
        version: its model_version.
        problem: its problem.json.
        statistics: its statistics.json, by column.
        scales: mean and standard deviation of numbers, by column, that its weights rest on.
        is_default: whether it is of the package's own kind, not of a build_model.
    """

    uri: str
    version: str
    problem: Mapping[str, Any]
    statistics: Statistics
    scales: Mapping[str, Mapping[str, float]]
    is_default: bool

    def with_scales(self, statistics: Statistics) -> dict[str, Mapping[str, Any]]:
        """`statistics` with the means and deviations of the earlier model, for columns that it knew."""
        return {name: {**measured, **self.scales.get(name, {})} for name, measured in statistics.items()}


def open_model(uri: str, problem: Problem) -> WarmStart:
    """Reads what describes an earlier Model, and refuses one that cannot be started from.

    Raises:
        UsageError: it is no Model, or predicts something else.
        DataError: a file of it is damaged.
    """
    found = model_artifact.open_model(uri, option="--warm-start")
    training, declared = found.training, found.problem
    label, old_label = problem.to_json()["label"], declared["label"]
    if (label["name"], label["kind"]) != (old_label["name"], old_label["kind"]):
        received = f'{old_label["kind"]} "{old_label["name"]}"'
        raise _unsuitable("it predicts another label", uri, f'{label["kind"]} "{label["name"]}"', received)
    if problem.task != training["task"] or (
        problem.task == "binary" and label["vocabulary"] != old_label["vocabulary"]
    ):
        raise _unsuitable(
            "it predicts other classes", uri, str(label.get("vocabulary")), str(old_label.get("vocabulary"))
        )
    statistics = found.statistics()
    # Of a Model that was itself started from another, the statistics are not what its weights rest on.
    scales = training.get("scales") or scales_of(statistics)
    return WarmStart(uri, found.version, declared, statistics, scales, training.get("model") != "build_model")


def scales_of(statistics: Statistics) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each numeric column."""
    names = ("mean", "standard_deviation")
    return {
        column: {name: measured[name] for name in names}
        for column, measured in statistics.items()
        if measured["kind"] == "numeric"
    }


def carry(
    start: WarmStart, model: Model, problem: Problem, statistics: Statistics, *, is_default: bool
) -> dict[str, Any]:
    """Assigns the weights of the earlier Model to `model`, which is built and not yet trained.

    Args:
        start: the earlier Model.
        model: gets the weights.
        problem: the new one.
        statistics: of the new Examples.
        is_default: whether `model` is of the package's own kind.

    Returns:
        For training.json: the Model's uri and version, parameters "carried" "of" all, "notes": (what, why) of what was
        not carried or starts otherwise, as sentences.

    Raises:
        UsageError: the Model cannot be loaded, or nothing of it fits.
    """
    earlier = _load(start)
    notes: list[str] = []
    if is_default and start.is_default:
        old = warm_layouts.Declared.from_json(start.problem, start.statistics)
        new = warm_layouts.Declared(problem, statistics)
        notes += warm_layouts.differences(old, new)
        axes = warm_layouts.axes(old), warm_layouts.axes(new)
        old_weights = dict(_named(earlier.get_layer(CORE)))
        weights = dict(_named(model.core))
    else:
        old_weights, weights = dict(_named(earlier)), dict(_named(model.core))
        axes = warm_layouts.vocabulary_axes(earlier, model.core, start.uri)
    carried = 0
    for path, variable in weights.items():
        source = old_weights.get(path)
        if source is None:
            notes.append(f"{path}: the Model has no such weights; they start anew")
            continue
        value = _carried(
            np.asarray(source.value), np.asarray(variable.value), axes[0].get(path, ()), axes[1].get(path, ())
        )
        if value is None:
            same = tuple(source.shape) == tuple(variable.shape)
            why = "they stand for something else" if same else f"{list(source.shape)} became {list(variable.shape)}"
            notes.append(f"{path}: {why}; they start anew")
            continue
        variable.assign(value[0])
        carried += value[1]
    notes += [f"{path}: of no use any more" for path in old_weights if path not in weights]
    if not carried:
        raise _unsuitable(
            "nothing of it fits",
            start.uri,
            "a layer of the same name, with weights of the same shape",
            ", ".join(list(old_weights)[:6]) + " in the Model, and " + ", ".join(list(weights)[:6]),
        )
    return {
        "model": start.uri,
        "model_version": start.version,
        "parameters_carried": carried,
        "parameters": sum(int(np.prod(variable.shape)) for variable in weights.values()),
        "notes": [*notes, *_moved(start, problem, statistics)],
    }


def _carried(old: Array, new: Array, old_axes: Sequence[Axis], new_axes: Sequence[Axis]) -> tuple[Array, int] | None:
    """`new` with what `old` has for it, and how many numbers that was; None where the two do not match.

    An axis without labels must be as long as before. Where an axis has labels, places are matched by them, and what
    the earlier model has nothing for is 0: it adds nothing. A bias stays what it began as.
    """
    if old.ndim != new.ndim:
        return None
    chosen = []
    for number in range(new.ndim):
        before, after = (axes[number] if number < len(axes) else None for axes in (old_axes, new_axes))
        if before is None or after is None:
            if old.shape[number] != new.shape[number]:
                return None
            chosen.append(np.arange(new.shape[number]))
            continue
        if (len(before), len(after)) != (old.shape[number], new.shape[number]):
            return None
        chosen.append(np.array(warm_layouts.matched(before, after)))
    mask: Array = np.array(True)
    for places in chosen:
        mask = np.logical_and.outer(mask, places >= 0)
    source = old[np.ix_(*(np.maximum(places, 0) for places in chosen))]
    value = np.where(mask, source, new if new.ndim == 1 else 0.0).astype(new.dtype)
    return (value, int(mask.sum())) if mask.any() else None


def _named(layer: Any) -> Iterator[tuple[str, Any]]:
    """(path, variable) of the weights; what random numbers go on from is none of them."""
    for variable in layer.weights:
        path = variable.path
        yield path.removeprefix(f"{layer.name}/"), variable


def _load(start: WarmStart) -> Any:
    where = storage.local_path(storage.join(start.uri, "model.keras"))
    try:
        return keras.models.load_model(where, compile=False)
    except (OSError, TypeError, ValueError, NotImplementedError) as error:
        raise _unsuitable(
            "its model.keras cannot be loaded",
            str(where),
            "layers that Keras or this Problem file has",
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else error}",
        ) from error


def _moved(start: WarmStart, problem: Problem, statistics: Statistics) -> Iterator[str]:
    """What the new rows measure of numbers, where that is noticeably other than the scale that is kept."""
    for column in (*problem.columns, problem.label):
        scale = start.scales.get(column.name)
        measured = statistics[column.name]
        if not isinstance(column, Numeric) or scale is None or scale["mean"] is None or measured["mean"] is None:
            continue
        deviation, now = scale["standard_deviation"] or 1.0, measured["standard_deviation"] or 1.0
        if abs(measured["mean"] - scale["mean"]) > _NOTICEABLE * deviation or abs(now / deviation - 1) > _NOTICEABLE:
            yield (
                f"{column.name}: the scale of the Model is kept, mean {scale['mean']:.4g} and deviation "
                f"{deviation:.4g}; that of these rows is {measured['mean']:.4g} and {now:.4g}"
            )


def _unsuitable(what: str, where: str, expected: str, received: str) -> UsageError:
    return UsageError(
        f"training cannot start from this Model: {what}",
        where=where,
        expected=expected,
        received=received,
        fix="Give another Model, or train without --warm-start",
    )
