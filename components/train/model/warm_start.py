"""Warm start: initializes a model with the weights of an earlier one, and lists the weights that are not carried over.

Weights are matched by their meaning. A table row belongs to a value, not to a number: values keep their weights in a
vocabulary that grew or has another order, and a new value starts with the weights of the unknown value, as which the
earlier model treated it. Rows of hashes, buckets and crosses are carried if their declaration is the same. A new
feature starts with weights of zero. Numbers and the label keep the scale of the earlier model, on which its weights
depend. Before its first step, the new model's predictions therefore equal the earlier model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from headrace.components.train.model import warm_layouts
from headrace.components.train.model.trained_model import TrainedModel
from headrace.components.train.model.warm_layouts import Axis
from headrace.components.train.model.wide_and_deep import CORE
from headrace.core import storage
from headrace.core.artifacts import model as model_artifact
from headrace.core.errors import UsageError
from headrace.core.problem import Numeric, Problem

Array = np.ndarray[Any, Any]
Statistics = Mapping[str, Mapping[str, Any]]

# A change of scale below this fraction of a standard deviation has no noticeable effect on training.
_NOTICEABLE = 0.1


@dataclass(frozen=True)
class WarmStart:
    """An earlier Model that training starts from.

    Attributes:
        uri: its folder.
        version: its model_version.
        problem: its problem.json.
        statistics: its statistics.json, by column.
        scales: mean and standard deviation of numbers, by column, with which its weights were trained.
        is_default: whether it is a default model, not the result of a build_model.
    """

    uri: str
    version: str
    problem: Mapping[str, Any]
    statistics: Statistics
    scales: Mapping[str, Mapping[str, float]]
    is_default: bool

    def with_scales(self, statistics: Statistics) -> dict[str, Mapping[str, Any]]:
        """`statistics` with the earlier model's means and standard deviations, for the columns that it has."""
        return {name: {**measured, **self.scales.get(name, {})} for name, measured in statistics.items()}


def open_model(uri: str, problem: Problem) -> WarmStart:
    """Reads the description of an earlier Model, and refuses one from which training cannot start.

    Raises:
        UsageError: it is not a Model, or it has another label.
        DataError: one of its files is damaged.
    """
    artifact = model_artifact.open_model(uri, option="--warm-start")
    training, declared = artifact.training, artifact.problem
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
    statistics = artifact.statistics()
    # A Model that was itself warm-started keeps the scales of its own start, not those of its statistics.
    scales = training.get("scales") or scales_of(statistics)
    return WarmStart(uri, artifact.version, declared, statistics, scales, training.get("model") != "build_model")


def scales_of(statistics: Statistics) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each numeric column."""
    names = ("mean", "standard_deviation")
    return {
        column: {name: measured[name] for name in names}
        for column, measured in statistics.items()
        if measured["kind"] == "numeric"
    }


def carry(
    start: WarmStart, model: TrainedModel, problem: Problem, statistics: Statistics, *, is_default: bool
) -> dict[str, Any]:
    """Assigns the weights of the earlier Model to `model`, which is built and not yet trained.

    Args:
        start: the earlier Model.
        model: receives the weights.
        problem: the new one.
        statistics: of the new Examples.
        is_default: whether `model` is a default model.

    Returns:
        For training.json: the Model's uri and version, parameters "carried" "of" all, and "notes": sentences about the
        weights that are not carried and the reasons.

    Raises:
        UsageError: the Model cannot be loaded, or none of its weights match.
    """
    earlier = _load(start)
    notes: list[str] = []
    if is_default and start.is_default:
        old = warm_layouts.ProblemStatistics.from_json(start.problem, start.statistics)
        new = warm_layouts.ProblemStatistics(problem, statistics)
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
            notes.append(f"{path}: the Model does not have these weights; they are initialized")
            continue
        value = _carried(
            np.asarray(source.value), np.asarray(variable.value), axes[0].get(path, ()), axes[1].get(path, ())
        )
        if value is None:
            same = tuple(source.shape) == tuple(variable.shape)
            why = "they have another meaning" if same else f"{list(source.shape)} became {list(variable.shape)}"
            notes.append(f"{path}: {why}; they are initialized")
            continue
        variable.assign(value[0])
        carried += value[1]
    notes += [f"{path}: no longer used" for path in old_weights if path not in weights]
    if not carried:
        raise _unsuitable(
            "none of its weights match",
            start.uri,
            "a layer of the same name with weights of the same shape",
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
    """`new` with the matching values of `old`, and the number of these values; None if the two do not match.

    An axis without labels must have the same length. The positions of an axis with labels are matched by label. A
    position without a match is set to 0, so that it has no effect. A bias keeps its initial value.
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
    """(path, variable) of the weights, without the states of random number generators."""
    for variable in layer.weights:
        path = variable.path
        yield path.removeprefix(f"{layer.name}/"), variable


def _load(start: WarmStart) -> Any:
    where = storage.join(start.uri, "model.keras")
    try:
        with storage.file_at_hand(where) as file:
            return keras.models.load_model(file, compile=False)
    except (OSError, TypeError, ValueError, NotImplementedError) as error:
        raise _unsuitable(
            "its model.keras cannot be loaded",
            where,
            "layers of Keras or of this Problem file",
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else error}",
        ) from error


def _moved(start: WarmStart, problem: Problem, statistics: Statistics) -> Iterator[str]:
    """The numbers whose mean or standard deviation in the new rows differs noticeably from the Model's scale."""
    for column in (*problem.columns, problem.label):
        scale = start.scales.get(column.name)
        measured = statistics[column.name]
        if not isinstance(column, Numeric) or scale is None or scale["mean"] is None or measured["mean"] is None:
            continue
        deviation, now = scale["standard_deviation"] or 1.0, measured["standard_deviation"] or 1.0
        if abs(measured["mean"] - scale["mean"]) > _NOTICEABLE * deviation or abs(now / deviation - 1) > _NOTICEABLE:
            yield (
                f"{column.name}: the Model's scale is used, mean {scale['mean']:.4g} and standard deviation "
                f"{deviation:.4g}; these rows have {measured['mean']:.4g} and {now:.4g}"
            )


def _unsuitable(what: str, where: str, expected: str, received: str) -> UsageError:
    return UsageError(
        f"training cannot start from this Model: {what}",
        where=where,
        expected=expected,
        received=received,
        fix="Use another Model, or train without --warm-start",
    )
