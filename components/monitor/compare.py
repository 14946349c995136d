"""Comparison of the columns of a window with the reference (skew) and with the previous window (drift)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from headrace.components.monitor.columns import CategoryColumn, ColumnCounts, MonitoredColumn, NumberColumn
from headrace.core.statistics.binned import (
    CategoryCounts,
    Counts,
    NumberCounts,
    counts_divergence,
    number_difference,
    number_divergence,
    quantiles_of,
)
from headrace.core.statistics.sampling_error import SIGNIFICANCE, Distance, increase

Measure = Literal["skew", "drift", "missing", "unknown", "invalid"]
_SHOWN = (0.05, 0.5, 0.95)
_TOP = 10


@dataclass(frozen=True)
class ColumnReport:
    """A column in one window.

    Attributes:
        rows: number of rows of the window.
        count: number of rows with a value.
        distances: defined distances by measure: divergences (skew, drift), and increases of fractions of rows.
        facts: JSON values for the page: quantiles, or the most frequent, new and missing categories.
    """

    rows: int
    count: int
    distances: Mapping[Measure, Distance]
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        distances: dict[str, Any] = {
            name: {
                "value": each.value if name in ("skew", "drift") else each.measured,
                "measured": each.measured,
                "expected": each.expected,
                "critical": each.critical,
            }
            for name, each in self.distances.items()
        }
        return {"count": self.count, **distances, **self.facts}


def compare(
    column: MonitoredColumn, counts: ColumnCounts, rows: int, before: ColumnCounts | None = None
) -> ColumnReport:
    """Compares the counts of a window.

    Args:
        column: cells of the column, with the counts of the reference.
        counts: counts of the window.
        rows: number of rows of the window.
        before: counts of the previous window; None if there is none.
    """
    distances: dict[Measure, Distance] = {}
    known = _reference_rows(column)
    if counts.count and known:
        distances["skew"] = _skew(column, counts)
    if counts.count and before is not None and before.count:
        cells = _cells(column, counts.cells), _cells(column, before.cells)
        distances["drift"] = counts_divergence(*cells, ordered=isinstance(column, NumberColumn))
    if rows:
        if known or column.missing:
            distances["missing"] = increase(counts.missing, rows, column.missing, known + column.missing)
        distances["invalid"] = increase(counts.invalid, rows, 0, math.inf)
    if isinstance(column, CategoryColumn) and isinstance(counts, CategoryCounts):
        facts = _category_facts(column, counts)
        if column.judges_new and (known or column.declared.vocabulary is not None) and rows:
            distances["unknown"] = increase(int(counts.cells[-1]), rows, 0, math.inf)
        return ColumnReport(rows, counts.count, distances, facts)
    return ColumnReport(rows, counts.count, distances, _number_facts(column, counts))


def _reference_rows(column: MonitoredColumn) -> int:
    return int(column.bins.rows if isinstance(column, NumberColumn) else column.rows.sum())


def _skew(column: MonitoredColumn, counts: ColumnCounts) -> Distance:
    if isinstance(column, NumberColumn) and isinstance(counts, NumberCounts):
        return number_divergence(counts, column.bins)
    rows = column.rows  # type: ignore[union-attr]
    return counts_divergence(_cells(column, counts.cells), _cells(column, rows), ordered=False)


def _cells(column: MonitoredColumn, cells: Counts) -> Counts:
    """The comparable cells. If the reference is not complete, new and other categories are one cell."""
    if isinstance(column, CategoryColumn) and not column.judges_new:
        return np.append(cells[:-2], cells[-2:].sum())
    return cells


def _number_facts(column: MonitoredColumn, counts: ColumnCounts) -> dict[str, Any]:
    if not (isinstance(column, NumberColumn) and isinstance(counts, NumberCounts) and counts.count):
        return {}
    facts: dict[str, Any] = {"quantiles": quantiles_of(counts, column.bins, _SHOWN)}
    if column.bins.rows:
        difference = number_difference(counts, column.bins)
        facts["kolmogorov_smirnov"] = {"value": difference.measured, "critical": difference.critical}
    return facts


def _category_facts(column: CategoryColumn, counts: CategoryCounts) -> dict[str, Any]:
    listed = counts.cells[: len(column.listed)]
    top = sorted(range(len(listed)), key=lambda at: (-listed[at], column.listed[at]))[:_TOP]
    reference = max(int(column.rows.sum()), 1)
    # Probability that a category of the reference occurs in none of the window's rows by chance.
    with np.errstate(divide="ignore"):
        chance = (1 - column.rows[: len(column.listed)] / reference) ** max(counts.count, 0)
    gone = [column.listed[at] for at in np.flatnonzero((listed == 0) & (chance < SIGNIFICANCE)).tolist()]
    new = sorted(counts.new.items(), key=lambda item: (-item[1], item[0]))[:_TOP] if column.judges_new else []
    return {
        "top": [[column.listed[at], int(listed[at])] for at in top if listed[at]],
        "new_categories": [list(item) for item in new],
        "missing_categories": gone[:_TOP],
    }
