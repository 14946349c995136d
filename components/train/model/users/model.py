"""User's model: calls the user's build_model, and checks the model before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from headrace.components.train.model.objective import Objective
from headrace.components.train.model.trained_model import TrainedModel
from headrace.components.train.model.users.code import blaming, seeded
from headrace.components.train.model.users.output_kind import output_kind
from headrace.core.errors import DataError, ProblemError
from headrace.core.problem import Numeric, Problem, Training
from headrace.core.problem.file import ProblemFile
from headrace.core.saved_model.independence import check_independence


def build(
    problem_file: ProblemFile,
    statistics: Mapping[str, Mapping[str, Any]],
    objective: Objective,
    training: Training,
    sample: Mapping[str, Any],
) -> TrainedModel:
    """Builds the model of a user's build_model, with the arguments and errors of `build.build`."""
    problem = problem_file.problem
    where = f"{problem_file.path}, build_model"
    with seeded(training.seed), blaming(problem_file, "build_model failed"):
        built = problem_file.build_model(problem.trained, statistics, dict(problem.hyperparameters))  # type: ignore[misc]
    if not isinstance(built, keras.Model):
        raise ProblemError(
            "build_model did not return a model", where=where, expected="a keras.Model", received=_describe(built)
        )
    _check_methods(built, where)
    inputs = _check_inputs(built, problem, where)
    model = TrainedModel(
        lambda features: {name: features[name] for name in inputs}, built, built, inputs, [built], objective
    )
    with seeded(training.seed), blaming(problem_file, "the model fails on raw features"):
        outputs = model.outputs(sample)
        # Traced here: in the training loop the error would not show the user's line.
        traced = tf.function(lambda features: built(features, training=True), autograph=False)
        traced.get_concrete_function({name: tf.TensorSpec([None], sample[name].dtype) for name in inputs})
    _check_outputs(outputs, objective, int(next(iter(sample.values())).shape[0]), where)
    if not built.trainable_variables:
        raise ProblemError(
            "the model has no trainable weights", where=where, expected="one weight or more", received="none"
        )
    _check_rows(model, sample, where)
    _check_missing(model, problem, sample, where)
    kind = output_kind(built, lambda: model.outputs(sample), objective, where)
    return dataclasses.replace(model, objective=dataclasses.replace(objective, outputs=kind))


def _check_methods(built: Any, where: str) -> None:
    """Refuses overridden methods that Keras' fit would call and this training loop does not."""
    for name in ("train_step", "test_step", "predict_step"):
        if getattr(type(built), name) is not getattr(keras.Model, name):
            raise ProblemError(
                f"the model overrides {name}",
                where=where,
                expected=f"Keras' {name}: headrace trains with its own loop, which does not call it",
                received=f"{type(built).__name__}.{name}",
                fix="Move its code into the loss, compute_loss, or callbacks",
            )
    if type(built).compute_loss is not keras.Model.compute_loss and not built.compiled:
        raise ProblemError(
            "the model overrides compute_loss, and is not compiled",
            where=where,
            expected="model.compile(optimizer=...) before the model is returned, so that this loss is used",
            received=f"{type(built).__name__}.compute_loss",
        )


def _check_inputs(built: Any, problem: Problem, where: str) -> tuple[str, ...]:
    """The input features of the model. A subclassed model declares none and receives all features."""
    expected = {c.name: "float32" if isinstance(c, Numeric) else "string" for c in problem.columns}
    inputs = getattr(built, "inputs", None)
    if not inputs:
        return tuple(expected)
    # A Sequential model has no `input`, only a list.
    declared = getattr(built, "input", inputs)
    if isinstance(declared, dict):
        named = dict(declared)
    else:
        named = {tensor.name: tensor for tensor in keras.tree.flatten(declared)}
    for name, tensor in named.items():
        shape = tuple(tensor.shape)
        if name not in expected:
            raise ProblemError(
                f'the model has an input "{name}", which is not a feature',
                where=where,
                expected=f"one of {', '.join(expected)}",
                received=f'"{name}"',
                fix="Give the model an input per feature, such as keras.Input(shape=(1,), name="
                f'"{next(iter(expected))}"), and join them by keras.layers.Concatenate()',
            )
        if tensor.dtype != expected[name] or shape not in ((None,), (None, 1)):
            raise ProblemError(
                f'the input "{name}" is wrong',
                where=where,
                expected=f'keras.Input(shape=(), name="{name}", dtype="{expected[name]}")',
                received=f'shape={shape[1:]}, dtype="{tensor.dtype}"',
            )
    return tuple(name for name in expected if name in named)


def _check_outputs(outputs: Any, objective: Objective, rows: int, where: str) -> None:
    second = objective.classes[-1] if objective.classes else ""
    meaning = {
        "regression": "the value",
        "binary": f'the logit or the probability of "{second}", as of Dense(1) or Dense(1, activation="sigmoid")',
        "multiclass": "one logit or probability per class, in the order of the label's vocabulary",
    }[objective.task]
    received = _describe(outputs)
    if tf.is_tensor(outputs):
        if outputs.dtype.is_floating and tuple(outputs.shape) == (rows, objective.units):
            return
        received = f"shape {[None, *outputs.shape[1:]]}, {outputs.dtype.name}"
    raise ProblemError(
        "the model's output is wrong",
        where=where,
        expected=f"shape [None, {objective.units}], float32: {meaning}",
        received=received,
    )


def _check_rows(model: TrainedModel, sample: Mapping[str, Any], where: str) -> None:
    """Refuses a model whose prediction for a row depends on other rows of the batch, or differs from call to call."""
    rows = {name: tf.convert_to_tensor(sample[name]) for name in model.inputs}
    others = {name: tf.reverse(values, [0]) for name, values in rows.items()}
    try:
        check_independence(lambda features: {"prediction": model.outputs(features)}, rows, others, None, where)
    except DataError as error:
        raise ProblemError(
            error.what,
            where=where,
            expected="one answer to a row, whatever rows it is evaluated or served with",
            received=error.received,
            fix="Use numbers of `statistics` or keras.layers.BatchNormalization instead of a mean or an order of the "
            "batch's rows, and random numbers in training alone",
        ) from error


def _check_missing(model: TrainedModel, problem: Problem, sample: Mapping[str, Any], where: str) -> None:
    """Refuses a model that returns NaN for a missing value: it would fail at the first such row."""
    for column in problem.columns:
        if not column.optional or column.name not in model.inputs:
            continue
        missing = np.nan if isinstance(column, Numeric) else ""
        features = dict(sample)
        features[column.name] = tf.fill(sample[column.name].shape, missing)
        if not np.isfinite(model.outputs(features)).all():
            raise ProblemError(
                f'the model\'s output is not finite if "{column.name}" is missing',
                where=where,
                expected=f'a model that replaces {missing!r}, because "{column.name}" is optional',
                received="NaN or infinity",
            )


def _describe(value: object) -> str:
    return "nothing" if value is None else f"type {type(value).__name__}"
