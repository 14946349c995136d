"""Monitored columns: count the values of a column in the cells of the reference."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.column_faults import parsed_numbers
from headrace.core.rows.validate import category_texts
from headrace.core.rules.column import NumberRule
from headrace.core.statistics.binned import Bins, CategoryCounts, Counts, NumberCounts, named
from headrace.core.values.columns import blank, texts

# Maximum categories of a column with their own cells: those with the most rows in the reference.
LISTED = 1000

SINGLE_MAXIMUM = float(np.finfo(np.float32).max)

ColumnCounts = NumberCounts | CategoryCounts


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers.

    Attributes:
        declared: declaration of the column.
        bins: cells of the column, with the rows of the reference that have a value.
        missing: number of rows of the reference without a value.
        blanks: texts that stand for a missing value.
    """

    declared: Numeric
    bins: Bins
    missing: int = 0
    blanks: tuple[str, ...] = ()

    def empty(self) -> NumberCounts:
        """The counts of no rows."""
        return NumberCounts(np.zeros(self.bins.cells, np.int64))

    def count(self, column: pa.Array, windows: Counts, number: int) -> list[NumberCounts]:
        """The counts of each window.

        Args:
            column: [rows] values.
            windows: [rows] int64 index of the window of each row, ascending from 0.
            number: number of windows.

        Returns:
            [number] counts.

        Raises:
            DataError: the type of the column is neither numeric nor text.
        """
        name = self.declared.name
        try:
            values, present, faults = parsed_numbers(NumberRule(self.declared), name, blank(column, self.blanks))
        except pa.ArrowNotImplementedError as error:
            raise _not_countable(name, column, "numbers") from error
        invalid = np.zeros(len(values), np.bool_)
        for fault in faults:
            if fault.reason != "missing_value":
                invalid |= fault.rows
        missing = ~present & ~invalid
        single = np.clip(values, -SINGLE_MAXIMUM, SINGLE_MAXIMUM).astype(np.float32)
        found = []
        for rows in _slices(windows, number):
            some = single[rows] if present[rows].all() else single[rows][present[rows]]
            found.append(
                NumberCounts(
                    self.bins.count(some),
                    int(missing[rows].sum()),
                    int(invalid[rows].sum()),
                    float(some.min(initial=np.inf)),
                    float(some.max(initial=-np.inf)),
                )
            )
        return found


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories.

    Attributes:
        declared: declaration of the column.
        listed: categories with their own cells.
        rows: [listed + 2] int64 rows of the reference by cell; the last two are other known categories and new ones.
        others: known categories without their own cells.
        judges_new: whether every known category is in `listed` or `others`, so that new categories are recognized.
        missing: number of rows of the reference without a value.
        blanks: texts that stand for a missing value.
    """

    declared: Categorical
    listed: tuple[str, ...]
    rows: Counts
    others: frozenset[str] = frozenset()
    judges_new: bool = True
    missing: int = 0
    blanks: tuple[str, ...] = ()
    _places: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {text: place for place, text in enumerate(self.listed)})

    def empty(self) -> CategoryCounts:
        """The counts of no rows."""
        return CategoryCounts(np.zeros(len(self.listed) + 2, np.int64))

    def count(self, column: pa.Array, windows: Counts, number: int) -> list[CategoryCounts]:
        """The counts of each window. Arguments and errors as of `NumberColumn.count`."""
        coded = _coded(self.declared.name, column)
        values, bad = category_texts(self.declared, blank(coded.dictionary, self.blanks))
        spelled = values.to_pylist()
        # The cell of each category; after these, the cells of missing values and of bytes that are not text.
        missing, invalid = len(self.listed) + 2, len(self.listed) + 3
        cells = np.array(
            [*(invalid if wrong else self._cell(t) for t, wrong in zip(spelled, bad.tolist(), strict=True)), missing],
            np.int64,
        )
        codes = coded.indices.cast(pa.int64()).fill_null(len(spelled)).to_numpy(zero_copy_only=False)
        found = []
        for rows in _slices(windows, number):
            of_codes = np.bincount(codes[rows], minlength=len(cells))
            counts = np.zeros(invalid + 1, np.int64)
            np.add.at(counts, cells, of_codes)
            new: dict[str, int] = {}
            for code in np.flatnonzero((cells == missing - 1) & (of_codes > 0)).tolist():
                new[spelled[code]] = new.get(spelled[code], 0) + int(of_codes[code])
            found.append(CategoryCounts(counts[:missing], int(counts[missing]), int(counts[invalid]), new=named(new)))
        return found

    def _cell(self, text: str | None) -> int:
        if text is None:
            return len(self.listed) + 2
        return self._places.get(text, len(self.listed) + (0 if text in self.others else 1))


MonitoredColumn = NumberColumn | CategoryColumn


def category_column(
    problem: Problem, declared: Categorical, rows: Mapping[str, int], *, count: int, missing: int, complete: bool
) -> CategoryColumn:
    """A column of categories.

    Args:
        problem: declares the texts of missing values.
        declared: declaration of the column. The categories of a declared vocabulary are known.
        rows: rows of the reference by category; only of the most frequent ones if it is not complete.
        count: number of rows of the reference with a value.
        missing: number of rows of the reference without a value.
        complete: whether `rows` contains every category of the reference.
    """
    ordered = sorted(rows, key=lambda text: (-rows[text], text))
    vocabulary = declared.vocabulary
    known = ordered + [text for text in vocabulary or () if text not in rows]
    if vocabulary is not None:
        # Categories outside the vocabulary are new, even if the reference contains them.
        known = [text for text in known if text in set(vocabulary)]
    listed = tuple(known[:LISTED])
    of_listed = np.array([rows.get(text, 0) for text in listed], np.int64)
    others = max(count - int(of_listed.sum()), 0)
    return CategoryColumn(
        declared,
        listed,
        np.concatenate([of_listed, [others, 0]]).astype(np.int64),
        frozenset(known[LISTED:]),
        complete or vocabulary is not None,
        missing,
        tuple(problem.missing),
    )


def _coded(name: str, column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(column.type):
        return column
    try:
        return column.dictionary_encode()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        pass
    try:
        return texts(column)[0].dictionary_encode()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, DataError) as error:
        raise _not_countable(name, column, "categories") from error


def _slices(windows: Counts, number: int) -> list[slice]:
    ends = np.searchsorted(windows, np.arange(number + 1)).tolist()
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def _not_countable(name: str, column: pa.Array, kind: str) -> DataError:
    return DataError(f'the column "{name}" holds no {kind}', expected=f"{kind}, or text", received=str(column.type))
