"""Scored rows: rows prepared as a model's inputs, and the model's answers as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.artifacts import quarantine
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import RuleViolation
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.row_faults import RowFaults
from headrace.core.sources.source import Rows

Places = npt.NDArray[np.int64]
# For a row without an answer: the model's error, or the faults for which a server refused it.
FaultCause: TypeAlias = str | Sequence[quarantine.Fault]


@dataclass(frozen=True)
class InputRows:
    """Rows as a model's inputs.

    Attributes:
        rows: the rows as read.
        faults: faults of rows.
        at: indices of the rows without a fault.
        feeds: the inputs of these rows.
        found: rules that rows broke, including those that refuse no row.
    """

    rows: Rows
    faults: RowFaults
    at: Places
    feeds: list[Feed]
    found: Sequence[RuleViolation] = ()


@dataclass(frozen=True)
class ModelAnswers:
    """A model's answers for rows.

    Attributes:
        at: [answered] the rows that it answered, ascending.
        arrays: a column of these rows per output.
        failed: the errors of rows that it fails on, by row.
        faults: faults of answers, each [answered].
    """

    at: Places
    arrays: list[pa.Array]
    failed: Mapping[int, FaultCause]
    faults: Sequence[RuleViolation]

    def slice(self, begin: int, end: int) -> ModelAnswers:
        """Rows from `begin` up to `end`, of a model that answered every row."""
        arrays = [array.slice(begin, end - begin) for array in self.arrays]
        faults = [RuleViolation(f.column, f.reason, f.rows[begin:end], f.message) for f in self.faults]
        return ModelAnswers(np.arange(end - begin), arrays, {}, faults)


@dataclass(frozen=True)
class ScoredBatch:
    """The predictions of a batch, and its quarantined rows.

    Attributes:
        predictions: one row per predicted row: the key under its own name, the outputs, `model_version`.
        numbers: the row numbers in the file, [rows].
        quarantined: the other rows, in order, including refused ones.
        counts: rows that broke a rule of the Model.
    """

    predictions: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    quarantined: tuple[QuarantinedRow, ...] = ()
    counts: RuleCounts = field(default_factory=RuleCounts)


def in_order(groups: Sequence[tuple[Places, ModelAnswers]]) -> ModelAnswers:
    """Merges the answers for groups of rows, in the order of the rows.

    Args:
        groups: one or more: the indices of the rows, and their answers.
    """
    at = np.concatenate([places[answered.at] for places, answered in groups])
    order = np.argsort(at, kind="stable")
    columns = zip(*(answered.arrays for _, answered in groups), strict=True)
    arrays = [pa.concat_arrays(list(column)).take(pa.array(order)) for column in columns]
    failed = {int(places[row]): said for places, answered in groups for row, said in answered.failed.items()}
    faults, before = [], 0
    for _, answered in groups:
        count = len(answered.at)
        for fault in answered.faults:
            rows = np.zeros(len(at), np.bool_)
            rows[before : before + count] = fault.rows
            faults.append(RuleViolation(fault.column, fault.reason, rows[order], fault.message))
        before += count
    return ModelAnswers(at[order], arrays, failed, faults)
