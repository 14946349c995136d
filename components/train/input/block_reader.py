"""Block reader: decodes blocks of rows from shards into columns outside TensorFlow, whose operations are slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.components.train.input.records import PreparedRows, labelled, numeric_names
from headrace.components.train.model.distinct_values import Strings
from headrace.components.train.model.wide_and_deep import NUMBERS
from headrace.core.problem import Numeric, Problem
from headrace.core.tfrecord.reader import ExampleReader, Kind, RecordRange


class BlockReader:
    """Reads blocks of rows, see `records.labelled`; strings as `Strings`, numbers as `NUMBERS`. It is thread-safe.

    Args:
        problem: the Problem.
        files: local paths of the shards, not compressed.
        weights: weight of a row of each file; empty for equal weights.
    """

    def __init__(self, problem: Problem, files: Sequence[str], weights: Sequence[float] = ()) -> None:
        self._problem = problem
        self._weights = np.array(weights, np.float32)
        columns = (*problem.columns, *problem.targets)
        self._numbers = [column.name for column in columns if isinstance(column, Numeric)]
        self._strings = [column.name for column in columns if not isinstance(column, Numeric)]
        kinds: dict[str, Kind] = dict.fromkeys(self._numbers, "float_list")
        self._reader = ExampleReader(files, {**kinds, **dict.fromkeys(self._strings, "bytes_list")})

    def rows(self, runs: Sequence[RecordRange], order: npt.NDArray[np.integer[Any]]) -> PreparedRows:
        """The rows of a block: arrays and `Strings`.

        Args:
            runs: the block's records.
            order: [rows]: row n of the result is record `order[n]` of the block.

        Raises:
            UnreadableFile, DataError, OSError: see `ExampleReader.read`.
        """
        rows = np.empty(len(order), np.int64)
        rows[order] = np.arange(len(order))
        found = self._reader.read(runs, rows)
        features = len(numeric_names(self._problem))
        columns: dict[str, Any] = {}
        if features:
            columns[NUMBERS] = np.ascontiguousarray(found.numbers[:features].T)
        if isinstance(self._problem.label, Numeric):
            columns[self._problem.label.name] = found.numbers[features]
        if self._problem.weight_column is not None:
            columns[self._problem.weight_column.name] = found.numbers[-1]
        columns.update(zip(self._strings, map(Strings, found.codes, found.values), strict=True))
        if not len(self._weights):
            return labelled(self._problem, columns)
        of_records = np.repeat(self._weights[[run.file for run in runs]], [run.rows for run in runs])
        return labelled(self._problem, columns, of_records[order])
