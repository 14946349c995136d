"""Derived columns of rows: computed on whole batches, before the rows are checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from headrace.core.expressions.lower_arrow import derive
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.sources.source import Rows
from headrace.core.values.columns import blank, texts
from headrace.core.values.numbers import parse_numbers


def with_derived(problem: Problem, rows: Rows) -> Rows:
    """Adds the derived features, and a derived label, weight and split, to rows as columns of float64, text or time.

    A value that is not a number counts as missing here; that row has its own fault.

    Args:
        problem: declares the columns.
        rows: must have the columns of `problem.derivation.read`.
    """
    derivation, batch = problem.derivation, rows.batch
    targets = {problem.label.name: (derivation.label, derivation.label_inputs)}
    if problem.weight_column is not None:
        targets[problem.weight_column.name] = (derivation.weight, derivation.weight_inputs)
    if problem.splits.column is not None and problem.splits.column not in derivation.features:
        # A derived weight may decide the split.
        targets.setdefault(problem.splits.column, (derivation.split, derivation.split_inputs))
    if not derivation.features and all(expression is None for expression, _ in targets.values()):
        return rows
    columns = {name: batch.column(name) for name in batch.schema.names}
    table = dict(columns)
    columns |= derived_features(problem, table, batch.num_rows)
    for name, (expression, inputs) in targets.items():
        if expression is not None:
            present = {column.name: blank(table[column.name], problem.missing) for column in inputs}
            read = {column.name: _values(column, present[column.name]) for column in inputs}
            columns |= derive({name: expression}, read, batch.num_rows)
    return dataclasses.replace(rows, batch=pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)))


def derived_features(problem: Problem, columns: Mapping[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    """The derived features of rows, by name, as `with_derived` adds them.

    Args:
        problem: declares the columns.
        columns: [rows] those of `problem.derivation.served`, by name, as the table has them.
        rows: how many.
    """
    derivation = problem.derivation
    if not derivation.features:
        return {}
    present = {column.name: blank(columns[column.name], problem.missing) for column in derivation.served}
    read = {column.name: _values(column, present[column.name]) for column in derivation.served}
    return derive(derivation.features, read, rows)


def _values(declared: Numeric | Categorical, column: pa.Array) -> pa.Array:
    if isinstance(declared, Categorical):
        return texts(column)[0]
    values, missing, wrong = parse_numbers(column)
    return pa.array(np.where(missing | wrong, np.nan, values))
