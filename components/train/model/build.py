"""The model that is trained: the default one, or what the user's build_model returns, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from headrace.components.train.model import wide_and_deep
from headrace.components.train.model.distinct_values import ByValue
from headrace.components.train.model.objective import Objective
from headrace.components.train.model.text_tables import TextTables
from headrace.components.train.model.trained_model import Model
from headrace.components.train.model.users import model
from headrace.core.problem import Training
from headrace.core.problem.file import ProblemFile


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
    shape [batch], missing ones NaN or "", and gives [batch, units]: the value; or one logit or the probability of the
    second class (binary); or a logit or probability for each class. Which of the two it is, `output_kind` finds. A
    functional model may take some of the features; any other gets all. One that is compiled is trained with its own
    optimizer and loss, which sees labels of shape [batch, 1] (multiclass: [batch], indices); its metrics are measured
    too. Python's, numpy's and Keras' random numbers are seeded while it runs.

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
        return model.build(problem_file, statistics, objective, training, sample)
    prepare = ByValue(problem, statistics, training.model)
    preprocessing = prepare.model
    core = wide_and_deep.build_core(problem, statistics, preprocessing, objective, training)
    whole = wide_and_deep.join(problem, preprocessing, core)
    # Saving variables and tables takes a third of the time of saving every layer, and loads faster.
    tables = [layer.lookup_table for layer in preprocessing.layers if isinstance(layer, keras.layers.StringLookup)]
    variables = [variable.value for variable in whole.variables]
    names = tuple(column.name for column in problem.columns)
    text_tables = partial(TextTables.of, problem, statistics, training.model, preprocessing, core)
    return Model(prepare, core, whole, names, [*variables, *tables], objective, text_tables)
