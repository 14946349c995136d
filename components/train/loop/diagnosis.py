"""Diagnosis of a loss that is not finite: reads the batch of that step again and computes its gradients.

A batch follows from the seed and its position in the stream, so the batch of any step can be read again. If a
checkpoint lies shortly before that step, its weights can be computed again too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.loop.checkpoints import Checkpoints
from headrace.components.train.loop.run_state import RunState
from headrace.components.train.loop.session import Batches, TrainSession
from headrace.core.problem import Numeric, Problem
from headrace.core.values.scaling import unscaled

# A distance from the mean that values of a usual column do not have, in standard deviations.
_EXTREME = 6.0
_NAMED = 3
# The maximum time that a user waits for an error message.
_REPLAY_SECONDS = 20.0
# The default model's normalized numbers, side by side, in the order of the problem's columns.
_NUMBERS = "numeric"


@dataclass(frozen=True)
class Extreme:
    """The value of a column, in one batch, that is furthest from the column's mean.

    Attributes:
        column: its name.
        row: its row in the batch, from 0.
        value: the value.
        deviations: its distance from the mean in standard deviations; infinity if it is not finite.
    """

    column: str
    row: int
    value: float
    deviations: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return f"{self.column} is {self.value} in row {self.row}"
        away = f"{self.deviations:.3g} standard deviations from its mean"
        return f"{self.column} is {self.value:.6g} in row {self.row}, {away}"


@dataclass(frozen=True)
class Diagnosis:
    """The inputs for computing a step again.

    Attributes:
        problem: the Problem.
        statistics: by column name, as in statistics.json.
        trainee: the trained model; its weights change.
        batches: the train split; `TrainingInput.batches`.
        checkpoints: the run's checkpoints, if any.
    """

    problem: Problem
    statistics: Mapping[str, Mapping[str, Any]]
    trainee: TrainSession
    batches: Batches
    checkpoints: Checkpoints | None

    def explain(self, step: int, state: RunState) -> str:
        """Describes extreme values in the batch of a step (from 0), and gradients that are not finite.

        Args:
            step: the step whose loss was not finite.
            state: the state of the training at the last call with finite losses.
        """
        features, labels, *_ = next(iter(self.batches(step, 0, 1)))
        said = [describe(extremes(self.problem, self.statistics, features, labels))]
        if self.trainee.strategy.num_replicas_in_sync == 1 and self._go_back(step, state):
            said.append(gradients(self.trainee, features, labels))
        return ". ".join(text for text in said if text)

    def _go_back(self, step: int, state: RunState) -> bool:
        """Trains again up to a step if it is not far from a checkpoint; returns whether it did."""
        found = self.checkpoints.newest(at_most=step) if self.checkpoints is not None else None
        if found is None or not state.step or self.trainee.core.compiled:
            return False
        if (step - found.step) * state.train_seconds / state.step > _REPLAY_SECONDS:
            return False
        self.trainee.restore(RunState.load(found.facts, found.arrays)[1])
        self.trainee.feed(found.step)
        return step == found.step or self.trainee.run(step - found.step).steps == step - found.step


def extremes(
    problem: Problem, statistics: Mapping[str, Mapping[str, Any]], features: Mapping[str, Any], labels: Any
) -> list[Extreme]:
    """For each numeric column, its most extreme value in a batch; the most extreme column first.

    Args:
        problem: the Problem.
        statistics: by column name, as in statistics.json.
        features: the model's features, [rows, ...] by name.
        labels: [rows].
    """
    found = []
    for name, values in _columns(problem, statistics, features, labels):
        mean, deviation = float(statistics[name]["mean"] or 0.0), float(statistics[name]["standard_deviation"] or 1.0)
        away = np.abs(values.astype(np.float64) - mean) / deviation
        # A missing value is NaN too; if it causes the error, the gradients show it.
        finite_or_missing = np.isfinite(values) | np.isnan(values) & _optional(problem, name)
        away = np.where(finite_or_missing, np.nan_to_num(away, nan=0.0), np.inf)
        row = int(np.argmax(away))
        found.append(Extreme(name, row, float(values[row]), float(away[row])))
    return sorted(found, key=lambda extreme: -extreme.deviations)


def describe(found: list[Extreme]) -> str:
    """The extremes of a batch in words, or that the batch is ordinary."""
    named = [str(extreme) for extreme in found if extreme.deviations >= _EXTREME][:_NAMED]
    if named:
        return f"In the batch of that step, {'; '.join(named)}"
    if not found:
        return ""
    return f"No value in the batch of that step is extreme. The most extreme: {found[0]}"


def gradients(trainee: TrainSession, features: Mapping[str, Any], labels: Any) -> str:
    """Describes the rows of a batch whose loss, and the weights whose gradient, is not finite.

    Args:
        trainee: the model with its weights before the step.
        features: the model's features, [rows, ...] by name.
        labels: [rows].
    """
    variables = trainee.core.trainable_variables
    with tf.GradientTape() as tape:
        losses = trainee.objective.loss(labels, trainee.core(features, training=True))
        total = tf.reduce_mean(losses)
    found = tape.gradient(total, [variable.value for variable in variables])
    wrong = [
        variable.path
        for variable, gradient in zip(variables, found, strict=True)
        if gradient is not None and not np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
    ]
    rows = np.flatnonzero(~np.isfinite(losses.numpy()))
    said = []
    if len(rows):
        said.append(f"the loss of {'row' if len(rows) == 1 else 'rows'} {_some([str(row) for row in rows])}")
    if wrong:
        said.append(f"the gradients of {_some(wrong)}")
    return f"Not finite: {', and '.join(said)}" if said else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _columns(
    problem: Problem, statistics: Mapping[str, Mapping[str, Any]], features: Mapping[str, Any], labels: Any
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Names and values, [rows], of the numeric columns in a batch, in their own units."""
    numbers = [column for column in problem.columns if isinstance(column, Numeric)]
    for column in numbers:
        if column.name in features and len(features[column.name].shape) == 1:
            yield column.name, unscaled(np.reshape(features[column.name].numpy(), -1), column.exponent)
    joined = features.get(_NUMBERS)
    if joined is not None and len(joined.shape) > 1 and joined.shape[-1] == len(numbers):
        for number, column in enumerate(numbers):
            measured = statistics[column.name]
            mean, deviation = float(measured["mean"] or 0.0), float(measured["standard_deviation"] or 1.0)
            yield column.name, joined[:, number].numpy().astype(np.float64) * deviation + mean
    if isinstance(problem.label, Numeric):
        yield problem.label.name, unscaled(np.reshape(labels.numpy(), -1), problem.label.exponent)


def _optional(problem: Problem, name: str) -> bool:
    return any(column.name == name and column.optional for column in problem.columns)
