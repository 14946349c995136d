"""Model construction: builds the default model or calls the user's build_model, and checks it before training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from headrace.components.train.model import wide_and_deep
from headrace.components.train.model.distinct_values import ByValue
from headrace.components.train.model.objective import Objective
from headrace.components.train.model.text_tables import TextTables
from headrace.components.train.model.trained_model import TrainedModel
from headrace.components.train.model.users import model
from headrace.core.problem import Training
from headrace.core.problem.file import ProblemFile


def build(
    problem_file: ProblemFile,
    statistics: Mapping[str, Mapping[str, Any]],
    objective: Objective,
    training: Training,
    sample: Mapping[str, Any],
) -> TrainedModel:
    """Builds the model of a problem.

    A user's `build_model(problem, statistics, hyperparameters)` receives the Problem, the statistics by column name
    (as in statistics.json), and `problem.hyperparameters`. It returns a Keras model. Its input is a dictionary of raw
    features by name - `keras.Input(shape=(), name=..., dtype="float32")`, or "string" - each of shape [batch], with
    NaN or "" for missing values. Its output is [batch, units]: the value; or one logit or the probability of the
    second class (binary); or a logit or probability per class. `output_kind` detects logits and probabilities. A
    functional model may use some of the features; any other model receives all. A compiled model is trained with its
    own optimizer and loss, which receives labels of shape [batch, 1] (multiclass: [batch], indices), and its metrics
    are measured. The random numbers of Python, numpy and Keras are seeded while build_model runs.

    Args:
        problem_file: the problem, and build_model if the file defines one.
        statistics: by column name, as in statistics.json.
        objective: the problem's.
        training: the problem's, with overrides applied.
        sample: some raw rows, features by name, on which a user's model is checked.

    Raises:
        ProblemError: build_model failed, or its result cannot be trained.
    """
    problem = problem_file.problem
    if problem_file.build_model is not None:
        return model.build(problem_file, statistics, objective, training, sample)
    prepare = ByValue(problem, statistics, training.model)
    preprocessing = prepare.model
    core = wide_and_deep.build_core(problem, statistics, preprocessing, objective, training)
    whole = wide_and_deep.join(problem, preprocessing, core)
    # Saving variables and tables takes a third of the time of saving every layer, and the result loads faster.
    tables = [layer.lookup_table for layer in preprocessing.layers if isinstance(layer, keras.layers.StringLookup)]
    variables = [variable.value for variable in whole.variables]
    names = tuple(column.name for column in problem.columns)
    text_tables = partial(TextTables.of, problem, statistics, training.model, preprocessing, core)
    return TrainedModel(prepare, core, whole, names, [*variables, *tables], objective, text_tables)
