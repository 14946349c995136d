"""Rows of tf.train.Examples as prepared features and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.input.examples import SplitFiles, damage_of, said_by, suspect_errors, unreadable
from headrace.components.train.model.distinct_values import ByValue, decoded
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.tfrecord.reader import ExampleReader, Kind, RecordRange
from headrace.core.values.doubles import doubles_of

# (features by name, labels) of a block or batch of rows; with sample weights, (features by name, labels, weights).
PreparedRows = tuple[Any, ...]
Prepare = Callable[[dict[str, Any]], dict[str, Any]]

BLOCK_ROWS = 16_384
# What TensorFlow holds for a string (24 bytes) and its characters where they are not held inline.
_STRING_BYTES = 48


def numeric_names(problem: Problem) -> list[str]:
    """The names of the features that are numbers, in the order declared."""
    return [column.name for column in problem.columns if isinstance(column, Numeric)]


def labelled(problem: Problem, columns: Mapping[str, Any], factors: Any = None) -> PreparedRows:
    """The features, the label and the weight of parsed rows.

    Args:
        problem: the Problem.
        columns: features, label and weight by name, as in the records.
        factors: [rows] float32, by which the weights (1 without a weight column) are multiplied; None for no factors.

    Returns:
        The features by name, [rows] float32 (missing: NaN) or string (missing: ""); the labels, [rows] float32 for
        regression and int32 indices into the vocabulary for classes; and of a problem with a weight or with factors,
        [rows] float32.
    """
    parsed = dict(columns)
    label = parsed.pop(problem.label.name)
    weights: tuple[Any, ...] = () if factors is None else (factors,)
    if problem.weight_column is not None:
        weight = parsed.pop(problem.weight_column.name)
        weights = (weight if factors is None else weight * factors,)
    if isinstance(problem.label, Categorical):
        classes = {name.encode(): number for number, name in enumerate(problem.label.vocabulary or ())}
        label = np.array([classes.get(value, 0) for value in label.values], np.int32)[label.codes]
    return parsed, label, *weights


class RowPreparer:
    """Raw rows -> prepared rows. It is thread-safe.

    Attributes:
        specification: `PreparedRows` of tf.TensorSpec, [None, ...] each.

    Args:
        problem: the Problem.
        prepare: raw features by name -> prepared features.
        weighted: whether rows have weights without a column of the Problem.
    """

    def __init__(self, problem: Problem, prepare: Prepare, *, weighted: bool = False) -> None:
        label = tf.TensorSpec([None], tf.int32 if isinstance(problem.label, Categorical) else tf.float32)
        weighted = weighted or problem.weight_column is not None
        weights = (tf.TensorSpec([None], tf.float32),) if weighted else ()
        self._run: Callable[[Any], Any]
        if isinstance(prepare, ByValue):
            self._run, structure = prepare.rows, prepare.model.output
        else:
            self._run, structure = _traced(problem, prepare)
        features = {name: tf.TensorSpec(each.shape, each.dtype) for name, each in structure.items()}
        self.specification: PreparedRows = (features, label, *weights)

    def __call__(self, rows: PreparedRows) -> PreparedRows:
        """Prepares the rows of `BlockReader`: arrays, and tensors of strings."""
        features, *labels = rows
        return self._run(features), *labels


def _traced(problem: Problem, prepare: Prepare) -> tuple[Callable[[Any], Any], Any]:
    """A user's preprocessing of blocks, traced once for all splits, and the structure of its result."""
    numbers = numeric_names(problem)
    features = {
        column.name: tf.TensorSpec([None], tf.float32 if isinstance(column, Numeric) else tf.string)
        for column in problem.columns
    }
    with tf.device("CPU:0"):
        # Without autograph: converting Keras' code would take longer than tracing it.
        run = tf.function(prepare, autograph=False).get_concrete_function(features)

    def prepared(raw: Any) -> Any:
        with tf.device("CPU:0"):
            tensors = {name: tf.convert_to_tensor(each) for name, each in decoded(raw, numbers).items()}
            return {n: each if each.dtype == tf.string else np.asarray(each) for n, each in run(tensors).items()}

    return prepared, run.structured_outputs


def raw_rows(problem: Problem, split: SplitFiles, limit: int) -> dict[str, Any]:
    """Features, inputs of derived ones and the key (as "key") of the first `limit` rows of a split, as numpy arrays.

    Numbers are float32 as Examples hold them, or float64 of inputs and in `derivation.exact`; texts are bytes.
    """
    kinds: dict[str, Kind] = dict(problem.derivation.stored)
    runs, left = [], min(limit, split.rows)
    for file, rows in enumerate(split.shard_rows):
        runs.append(RecordRange(file, 0, min(rows, left)))
        left -= runs[-1].rows
    try:
        reader = ExampleReader(split.files, {**kinds, problem.key_name: "bytes_list"})
        read = reader.read(runs, np.arange(min(limit, split.rows)))
    except (DataError, OSError) as error:
        raise damage_of(split) or unreadable(", ".join(split.files), str(error)) from error
    columns = read.by_name()
    doubles = [column.name for column in problem.derivation.inputs if isinstance(column, Numeric)]
    for name in (*doubles, *problem.derivation.exact.values()):
        columns[name] = doubles_of(columns[name].tolist())
    key = columns.pop(problem.key_name)
    return {**columns, "key": key}


def row_bytes(specification: Any) -> int:
    """Memory of a row, in bytes, from a structure of tf.TensorSpec, [None, ...] each; approximate for strings."""
    size = 0
    for tensor in tf.nest.flatten(specification):
        width = int(np.prod([length or 1 for length in tensor.shape[1:]], dtype=np.int64))
        size += width * (_STRING_BYTES if tensor.dtype == tf.string else tensor.dtype.size)
    return size


@contextmanager
def reading(split: SplitFiles) -> Iterator[None]:
    """Translates an error about a damaged shard into one that names the damage."""
    try:
        yield
    except (DataError, OSError) as error:
        raise damage_of(split) or unreadable(", ".join(split.files), str(error)) from error
    except suspect_errors() as error:
        # Only reading happens there: if all shards are complete, they hold undeclared values.
        raise damage_of(split) or unreadable(", ".join(split.files), said_by(error)) from error
