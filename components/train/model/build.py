"""The model that is trained: the default one, or what the user's build_model returns, checked before any work."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from headrace.components.train.model import wide_and_deep
from headrace.components.train.model.distinct_values import ByValue
from headrace.components.train.model.objective import Objective
from headrace.components.train.model.text_tables import TextTables
from headrace.core.errors import ProblemError
from headrace.core.problem import Numeric, Problem, Training
from headrace.core.problem.file import ProblemFile


@dataclass(frozen=True)
class Model:
    """A model in the two parts that training needs, and whole.

    Attributes:
        prepare: raw features by name -> what `core` takes; nothing in it is trained.
        core: what is trained.
        whole: raw features by name -> [batch, units]: what is exported.
        inputs: names of the features that `whole` takes.
        trackables: what a SavedModel must hold for `whole` to run: its variables and tables.
        text_tables: makes what batch scoring calls in the place of `whole`; None gives nothing.
    """

    prepare: Callable[[dict[str, Any]], dict[str, Any]]
    core: Any
    whole: Any
    inputs: tuple[str, ...]
    trackables: Sequence[Any]
    text_tables: Callable[[], TextTables | None] = lambda: None

    def outputs(self, features: Mapping[str, Any]) -> Any:
        """[batch, units] for raw features by name, as when it serves."""
        return self.whole({name: features[name] for name in self.inputs}, training=False)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(int(np.prod(variable.shape)) for variable in self.core.trainable_variables)


def build(
    problem_file: ProblemFile,
    statistics: Mapping[str, Mapping[str, Any]],
    objective: Objective,
    training: Training,
    sample: Mapping[str, Any],
) -> Model:
    """Builds the model of a problem.

    A user's `build_model(problem, statistics, hyperparameters)` gets the Problem, what was measured by column name
    (as in statistics.json), and `problem.hyperparameters`. It returns a Keras model that takes a
    dictionary of raw features by name - `keras.Input(shape=(), name=..., dtype="float32")`, or "string" - each of
    shape [batch], missing ones NaN or "", and gives [batch, units]: the value, one logit (binary), or one logit a
    class. A functional model may take some of the features; any other gets all. One that is compiled is trained with
    its own optimizer and loss, which sees labels of shape [batch, 1] (multiclass: [batch], indices); its metrics are
    measured too. Python's, numpy's and Keras' random numbers are seeded while it runs.

    Args:
        problem_file: the problem, and build_model if the file defines one.
        statistics: by column name, as in statistics.json.
        objective: the problem's.
        training: the problem's, with overrides in place.
        sample: some raw rows, features by name, on which a user's model is tried.

    Raises:
        ProblemError: build_model failed, or returned something that cannot be trained.
    """
    problem = problem_file.problem
    if problem_file.build_model is not None:
        return _users_model(problem_file, statistics, objective, training, sample)
    prepare = ByValue(problem, statistics, training.model)
    preprocessing = prepare.model
    core = wide_and_deep.build_core(problem, statistics, preprocessing, objective, training)
    whole = wide_and_deep.join(problem, preprocessing, core)
    # Saving variables and tables takes a third of the time of saving every layer, and loads faster.
    tables = [layer.lookup_table for layer in preprocessing.layers if isinstance(layer, keras.layers.StringLookup)]
    variables = [variable.value for variable in whole.variables]
    names = tuple(column.name for column in problem.columns)
    text_tables = partial(TextTables.of, problem, statistics, training.model, preprocessing, core)
    return Model(prepare, core, whole, names, [*variables, *tables], text_tables)


def _users_model(
    problem_file: ProblemFile,
    statistics: Mapping[str, Mapping[str, Any]],
    objective: Objective,
    training: Training,
    sample: Mapping[str, Any],
) -> Model:
    problem = problem_file.problem
    where = f"{problem_file.path}, build_model"
    with _seeded(training.seed), blaming(problem_file, "build_model failed"):
        built = problem_file.build_model(problem.trained, statistics, dict(problem.hyperparameters))  # type: ignore[misc]
    if not isinstance(built, keras.Model):
        raise ProblemError(
            "build_model did not return a model", where=where, expected="a keras.Model", received=_describe(built)
        )
    if type(built).train_step is not keras.Model.train_step:
        raise ProblemError(
            "the model has a train_step of its own",
            where=where,
            expected="Keras' train_step: the same loop trains on every kind of device",
            received=f"{type(built).__name__}.train_step",
            fix="Put what it adds into the loss, compute_loss, or callbacks",
        )
    inputs = _check_inputs(built, problem, where)
    model = Model(lambda features: {name: features[name] for name in inputs}, built, built, inputs, [built])
    with _seeded(training.seed), blaming(problem_file, "the model fails on raw features"):
        outputs = model.outputs(sample)
        # Only traced: it would otherwise fail in the loop, far from the user's line.
        traced = tf.function(lambda features: built(features, training=True), autograph=False)
        traced.get_concrete_function({name: tf.TensorSpec([None], sample[name].dtype) for name in inputs})
    _check_outputs(outputs, objective, int(next(iter(sample.values())).shape[0]), where)
    if not built.trainable_variables:
        raise ProblemError("the model has nothing to train", where=where, expected="weights", received="none")
    _check_missing(model, problem, sample, where)
    return model


def _check_inputs(built: Any, problem: Problem, where: str) -> tuple[str, ...]:
    """The features that the model takes.

    A subclassed model does not say, and gets all of them.
    """
    expected = {c.name: "float32" if isinstance(c, Numeric) else "string" for c in problem.columns}
    declared = getattr(built, "input", None) if getattr(built, "inputs", None) else None
    if declared is None:
        return tuple(expected)
    if isinstance(declared, dict):
        named = dict(declared)
    else:
        named = {tensor.name: tensor for tensor in keras.tree.flatten(declared)}
    for name, tensor in named.items():
        shape = tuple(tensor.shape)
        if name not in expected:
            raise ProblemError(
                f'the model takes an input "{name}", which is no feature',
                where=where,
                expected=f"names among {', '.join(expected)}",
                received=f'"{name}"',
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
    meaning = {
        "regression": "the value",
        "binary": f'the logit of "{objective.classes[-1] if objective.classes else ""}"',
        "multiclass": "a logit for each class, in the order of the label's vocabulary",
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


def _check_missing(model: Model, problem: Problem, sample: Mapping[str, Any], where: str) -> None:
    """A model that answers NaN for a missing value would fail in training at the first such row, or when it serves."""
    for column in problem.columns:
        if not column.optional or column.name not in model.inputs:
            continue
        missing = np.nan if isinstance(column, Numeric) else ""
        features = dict(sample)
        features[column.name] = tf.fill(sample[column.name].shape, missing)
        if not np.isfinite(model.outputs(features)).all():
            raise ProblemError(
                f'the model gives no finite number where "{column.name}" is missing',
                where=where,
                expected=f'a model that replaces {missing!r}, since "{column.name}" is optional',
                received="NaN or infinity",
            )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds what build_model may draw from; the caller's own random numbers go on as if nothing had been."""
    python, numbers = random.getstate(), np.random.get_state()
    # numpy's seeds are uint32.
    keras.utils.set_random_seed(seed % (1 << 32))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


@contextmanager
def blaming(problem_file: ProblemFile, what: str, function: str = "build_model") -> Iterator[None]:
    """Turns what the user's code raises into an error that shows the user's own line.

    Raises:
        ProblemError: whatever was raised.
    """
    try:
        yield
    except ProblemError as error:
        raise error.at(problem_file.path) from error
    except Exception as error:
        where = problem_file.own_line(error.__traceback__) or f"{problem_file.path}, {function}"
        raise ProblemError(what, where=where, received=f"{type(error).__name__}: {error}") from error


def _describe(value: object) -> str:
    return "nothing" if value is None else f"type {type(value).__name__}"
