"""Splits of few rows: fractions with which no split is empty and the label varies where it is learned and measured.

A fingerprint of each row decides its split, so of 10 rows all may fall outside a quarter. The fingerprints of the rows
are known here, and other fractions move the boundaries between them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.preprocess.draft.read import MINIMUM_ROWS, FirstRows
from headrace.core.errors import DataError
from headrace.core.problem import Problem, Splits
from headrace.core.rows.numbering import number
from headrace.core.rows.read import as_declared, wanted_columns
from headrace.core.rows.scales import measured_exponents
from headrace.core.rows.splits import Fingerprints, fingerprint, split_of
from headrace.core.rows.validate import validate
from headrace.core.sources.source import Part, Rows
from headrace.core.text import counted
from headrace.core.values.columns import nulls_of

# Steps of the fractions that are tried, in percent.
_STEPS = (5, 1)


def fitting_splits(problem: Problem, read: FirstRows, data: str) -> Splits:
    """The Problem's splits by key, or others where with these a split would be of no use.

    A split is of use if it has rows, and the label varies in train and test. Every feature must have a value in train.

    Args:
        problem: the draft; its splits are by key.
        read: all rows of the table.
        data: the table, for errors.

    Raises:
        DataError: no fractions give each split a row, because hardly any row keeps the Problem's rules.
    """
    batch = _valid(problem, read)
    keys = batch.column(0)
    prints = fingerprint(number(keys) if problem.key is None else keys)
    label = batch.column(problem.label.name)
    features = [~nulls_of(batch.column(name)) for name in problem.derivation.stored]

    def is_learnable(codes: npt.NDArray[np.int64]) -> bool:
        varies = all(len(pc.unique(label.filter(pa.array(codes == split)))) > 1 for split in (0, 2))
        return varies and all((present & (codes == 0)).any() for present in features)

    for strict in (True, False):
        for splits, codes in _candidates(problem.splits, prints):
            if not strict or is_learnable(codes):
                return splits
    raise DataError(
        "there are too few rows to train, evaluate and test a model",
        where=data,
        expected=f'{MINIMUM_ROWS} rows or more with a value of the label "{problem.label.source_column}"',
        received=counted(batch.num_rows, "row"),
    )


def _valid(problem: Problem, read: FirstRows) -> pa.RecordBatch:
    """The rows that keep the Problem's rules, as Examples hold them, and first their key or content."""
    table = read.table.select(wanted_columns(problem)).combine_chunks()
    batch = pa.RecordBatch.from_arrays(
        [pa.concat_arrays(column.chunks) for column in table.columns], names=table.column_names
    )
    rows = as_declared(problem, Rows(Part(0, ""), batch, np.arange(1, batch.num_rows + 1)))
    checked = validate(problem, rows)
    exponents = measured_exponents(problem, checked.seen)
    return validate(problem.with_exponents(exponents), rows).batch if exponents else checked.batch


def _candidates(splits: Splits, prints: Fingerprints) -> Iterable[tuple[Splits, npt.NDArray[np.int64]]]:
    """Splits in which none is empty, with the split of each row: first the given ones, then the nearest to them."""
    wanted = np.array([splits.train, splits.eval, splits.test]) * len(prints)
    for step in (0, *_STEPS):
        found = []
        for each in [splits] if not step else _fractions(step):
            codes = split_of(each, prints)
            counts = np.bincount(codes, minlength=3)
            if counts.all():
                moved = abs(each.train - splits.train) + abs(each.eval - splits.eval)
                found.append((float(np.abs(counts - wanted).sum()), moved, each, codes))
        for _, _, each, codes in sorted(found, key=lambda candidate: candidate[:2]):
            yield each, codes


def _fractions(step: int) -> Iterable[Splits]:
    for train in range(step, 100, step):
        for evaluation in range(step, 100 - train, step):
            yield Splits(train / 100, evaluation / 100, (100 - train - evaluation) / 100)
