"""Block reader: decodes blocks of rows from shards into columns outside TensorFlow, whose operations are slower."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.input.records import Rows, labelled, numeric_names
from headrace.components.train.model.distinct_values import Strings
from headrace.components.train.model.wide_and_deep import NUMBERS
from headrace.core.errors import DataError
from headrace.core.problem import Numeric, Problem
from headrace.core.tfrecord.reader import ExampleReader, Kind, Run

# Numbers of a dataset's element -> the records of its block, in their order.
Plan = Callable[..., Sequence[Run]]


class BlockReader:
    """Reads blocks of rows, see `records.labelled`; strings as `Strings`, numbers as `NUMBERS`.

    Args:
        problem: the Problem.
        files: local paths of the shards, not compressed.
    """

    def __init__(self, problem: Problem, files: Sequence[str]) -> None:
        self._problem = problem
        columns = (*problem.columns, *problem.targets)
        self._numbers = [column.name for column in columns if isinstance(column, Numeric)]
        self._strings = [column.name for column in columns if not isinstance(column, Numeric)]
        kinds: dict[str, Kind] = dict.fromkeys(self._numbers, "float_list")
        self._reader = ExampleReader(files, {**kinds, **dict.fromkeys(self._strings, "bytes_list")})

    def rows(self, plan: Plan, which: Sequence[Any], order: Any) -> Rows:
        """In a dataset's function: the rows of a block.

        Args:
            plan: returns the block's records.
            which: tensors; `plan` is called with their values.
            order: [rows] int32: row n of the result is record `order[n]` of the block.
        """

        def read(order: Any, *which: Any) -> Any:
            return self._read(plan(*which), order)

        numbers, codes, values, sizes = tf.numpy_function(
            read, [order, *which], Tout=[tf.float32, tf.int32, tf.string, tf.int32], stateful=False
        )
        numbers.set_shape([len(self._numbers), None])
        codes.set_shape([len(self._strings), None])
        values.set_shape([None])
        columns: dict[str, Any] = {}
        features = len(numeric_names(self._problem))
        if features:
            columns[NUMBERS] = tf.transpose(numbers[:features])
        if isinstance(self._problem.label, Numeric):
            columns[self._problem.label.name] = numbers[features]
        if self._problem.weight_column is not None:
            columns[self._problem.weight_column.name] = numbers[-1]
        if self._strings:
            sizes.set_shape([len(self._strings)])
            parts = zip(tf.unstack(codes), tf.split(values, sizes, num=len(self._strings)), strict=True)
            columns.update(zip(self._strings, itertools.starmap(Strings, parts), strict=True))
        return labelled(self._problem, columns)

    def _read(self, runs: Sequence[Run], order: Any) -> Any:
        rows = np.empty(len(order), np.int64)
        rows[order] = np.arange(len(order))
        try:
            found = self._reader.read(runs, rows)
        except (DataError, OSError) as error:
            # TensorFlow wraps this in an error of its own, with the whole chain of causes.
            raise ValueError(str(error)) from None
        return found.numbers, found.codes, *_packed(found.values)


def _packed(values: Sequence[Iterable[bytes]]) -> tuple[Any, Any]:
    """Columns of concatenated values, and the number of values of each."""
    columns = [list(column) for column in values]
    joined = np.array(list(itertools.chain.from_iterable(columns)) or [b""], np.object_)
    return joined, np.array([len(column) for column in columns], np.int32)
