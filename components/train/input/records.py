"""Rows of tf.train.Examples as prepared features and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.input.examples import Split, damage_of, said_by, suspect_errors, unreadable
from headrace.components.train.model.distinct_values import ByValue, Strings, decoded
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.tfrecord.reader import ExampleReader, Kind, Run

# (features by name, labels) of a block or batch of rows; with sample weights, (features by name, labels, weights).
Rows = tuple[Any, ...]
Prepare = Callable[[dict[str, Any]], dict[str, Any]]

BLOCK_ROWS = 16_384
# What TensorFlow holds for a string (24 bytes) and its characters where they are not held inline.
_STRING_BYTES = 48


def numeric_names(problem: Problem) -> list[str]:
    """The names of the features that are numbers, in the order declared."""
    return [column.name for column in problem.columns if isinstance(column, Numeric)]


def labelled(problem: Problem, columns: Mapping[str, Any]) -> Rows:
    """The features, the label and the weight of parsed rows.

    Args:
        problem: the Problem.
        columns: features, label and weight by name, as in the records.

    Returns:
        The features by name, [rows] float32 (missing: NaN) or string (missing: ""); the labels, [rows] float32 for
        regression and int32 indices into the vocabulary for classes; and of a problem with a weight, [rows] float32.
    """
    parsed = dict(columns)
    label = parsed.pop(problem.label.name)
    weights = () if problem.weight_column is None else (parsed.pop(problem.weight_column.name),)
    if isinstance(problem.label, Categorical):
        values = label.values if isinstance(label, Strings) else label
        classes = tf.constant(problem.label.vocabulary)
        indices = tf.argmax(tf.equal(values[:, None], classes[None, :]), axis=1, output_type=tf.int32)
        label = tf.gather(indices, label.codes) if isinstance(label, Strings) else indices
    return parsed, label, *weights


def preparing(problem: Problem, prepare: Prepare) -> Callable[..., Rows]:
    """Rows of `BlockReader` -> prepared rows. It is traced once, for all datasets that call it."""
    numbers = numeric_names(problem)

    # Without autograph: converting Keras' code would take longer than tracing it.
    @tf.function(autograph=False)
    def prepared(features: Any, *labels: Any) -> Rows:
        return prepare(features if isinstance(prepare, ByValue) else decoded(features, numbers)), *labels

    traced: Callable[..., Rows] = prepared
    return traced


def raw_rows(problem: Problem, split: Split, limit: int) -> dict[str, Any]:
    """Features, inputs of derived ones and the key (as "key") of the first `limit` rows of a split, as numpy arrays."""
    kinds: dict[str, Kind] = {
        c.name: "float_list" if isinstance(c, Numeric) else "bytes_list" for c in problem.derivation.stored
    }
    runs, left = [], min(limit, split.rows)
    for file, rows in enumerate(split.shard_rows):
        runs.append(Run(file, 0, min(rows, left)))
        left -= runs[-1].rows
    try:
        reader = ExampleReader(split.files, {**kinds, problem.key_name: "bytes_list"})
        read = reader.read(runs, np.arange(min(limit, split.rows)))
    except (DataError, OSError) as error:
        raise damage_of(split) or unreadable(", ".join(split.files), str(error)) from error
    columns = read.by_name()
    key = columns.pop(problem.key_name)
    return {**columns, "key": key}


def after(rows: Any, begin: Any) -> Any:
    """A structure of columns without their first `begin` rows.

    Copied: a slice would share its buffer, which TensorFlow reports as an error where it would have reused it.
    """

    def tail(column: Any) -> Any:
        return tf.gather(column, tf.range(begin, tf.shape(column)[0]))

    return tf.nest.map_structure(tail, rows)


def after_place(dataset: Any, begin: int) -> Any:
    """A dataset of blocks of rows without the first `begin` rows of the first block."""
    if not begin:
        return dataset

    @tf.autograph.experimental.do_not_convert
    def rest(number: Any, rows: Any) -> Any:
        return tf.cond(number == 0, lambda: after(rows, begin), lambda: rows)

    return dataset.enumerate().map(rest)


def row_bytes(blocks: Any) -> int:
    """Memory of a row of the dataset `blocks`, in bytes; approximate for strings."""
    size = 0
    for tensor in tf.nest.flatten(blocks.element_spec):
        width = int(np.prod([length or 1 for length in tensor.shape[1:]], dtype=np.int64))
        size += width * (_STRING_BYTES if tensor.dtype == tf.string else tensor.dtype.size)
    return size


@contextmanager
def reading(split: Split) -> Iterator[None]:
    """Translates TensorFlow's error about a damaged shard."""
    try:
        yield
    except suspect_errors() as error:
        # Only reading happens there: if all shards are complete, they hold undeclared values.
        raise damage_of(split) or unreadable(", ".join(split.files), said_by(error)) from error
