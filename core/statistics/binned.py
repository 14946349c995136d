"""Binned counts: a column counted in the cells of a reference distribution; parts merge exactly, in any order.

A cell of numbers is one of the edges, or what lies between two of them. The edges are quantiles of the reference, and
numbers that many of its rows have. Numbers are compared as float32, in which models and statistics have them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import datasketches
import numpy as np
import numpy.typing as npt

from headrace.core.statistics.sampling_error import Distance, bounded_divergence, divergence, greatest_difference
from headrace.core.statistics.sketches import Quantiles

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Quantiles between which cells lie.
_STEPS = 20
# A number that more of the rows have is a cell of its own.
_ATOM = 1 / 40
# Levels at which a digest is searched for numbers that repeat.
_FINEST = 1000


@dataclass(frozen=True)
class Bins:
    """Cells of numbers, and the distribution function of the reference at their boundaries.

    Attributes:
        edges: [edges] distinct, ascending; float32.
        low, high: [2 x edges] bounds of the fraction of the rows below each edge, and up to it, in turn; equal where it
            is known.
        rows: of the reference that have a value.
    """

    edges: npt.NDArray[np.float32]
    low: Floats
    high: Floats
    rows: float

    @property
    def cells(self) -> int:
        """The number of cells."""
        return 2 * len(self.edges) + 1

    @classmethod
    def of_quantiles(cls, quantiles: Sequence[float], rows: float) -> Self:
        """The cells between evenly spaced quantiles, of which the first is the minimum and the last the maximum.

        How many rows have exactly a number is not known from quantiles: of numbers that repeat, and of whole numbers in
        a column of whole numbers, the distribution function is known within the neighbouring levels alone.
        """
        values = np.array(quantiles, np.float64).astype(np.float32)
        steps = len(values) - 1
        edges, first, counts = np.unique(values, return_index=True, return_counts=True)
        last = first + counts - 1
        whole = (edges == np.floor(edges)) & ((values == np.floor(values)).mean() >= 0.5)
        loose = whole | (counts > 1)
        low = np.stack([np.where(loose, first - 1, first), last], axis=1).ravel() / steps
        high = np.stack([first, np.where(loose, last + 1, last)], axis=1).ravel() / steps
        low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
        # Nothing lies below the minimum, nor above the maximum.
        low[0] = high[0] = 0.0
        low[-1] = high[-1] = 1.0
        return cls(edges, low, high, rows)

    @classmethod
    def of_sketch(cls, sketch: Quantiles, rows: float) -> Self:
        """The cells of a sketch, which knows the rows of single numbers exactly, or within its `error`."""
        if sketch.digest is None:
            values, places = np.unique(sketch.values.astype(np.float32), return_inverse=True)
            counts = np.zeros(len(values), np.int64)
            np.add.at(counts, places, sketch.counts)
            ends = np.cumsum(counts) / counts.sum()
            at = np.searchsorted(ends, np.arange(_STEPS + 1) / _STEPS).clip(max=len(values) - 1)
            at = np.union1d(at, np.flatnonzero(counts >= _ATOM * counts.sum()))
            known = np.stack([ends[at] - counts[at] / counts.sum(), ends[at]], axis=1).ravel()
            known[-1] = 1.0
            return cls(values[at], known.clip(0.0, 1.0), known.clip(0.0, 1.0), rows)
        levels = np.arange(_FINEST + 1) / _FINEST
        fine = np.array(sketch.quantiles(levels.tolist()), np.float64).astype(np.float32)
        repeated = np.unique(fine[1:][fine[1:] == fine[:-1]])
        edges = np.union1d(fine[:: _FINEST // _STEPS], repeated)
        digest = datasketches.tdigest_double.deserialize(sketch.digest)
        rank = np.array([digest.get_rank(float(edge)) for edge in edges])
        below = np.where(np.isin(edges, repeated), levels[np.searchsorted(fine, edges, "left")], rank)
        up_to = np.where(np.isin(edges, repeated), levels[np.searchsorted(fine, edges, "right") - 1], rank)
        known = np.maximum.accumulate(np.stack([below, up_to], axis=1).ravel())
        known[0], known[-1] = 0.0, 1.0
        return cls(edges, known, known, rows)

    @classmethod
    def of_counts(cls, edges: Sequence[float], counts: Counts) -> Self:
        """The cells in which rows were counted before."""
        known = np.cumsum(counts)[:-1] / max(counts.sum(), 1)
        return cls(np.array(edges, np.float32), known, known, float(counts.sum()))

    @classmethod
    def fixed(cls, edges: Sequence[float]) -> Self:
        """Cells without a reference."""
        return cls(np.array(edges, np.float32), np.zeros(2 * len(edges)), np.ones(2 * len(edges)), 0.0)

    def count(self, values: npt.NDArray[np.float32]) -> Counts:
        """[cells] rows of each cell."""
        # x < e is in the cell before e, x = e in that of e: the boundaries are e, and the next number after it.
        places = np.searchsorted(self._boundaries, values, side="right")
        return np.bincount(places, minlength=self.cells).astype(np.int64)

    @property
    def _boundaries(self) -> npt.NDArray[np.float32]:
        following = np.nextafter(self.edges, np.float32(np.inf))
        return np.stack([self.edges, following], axis=1).ravel()

    def nearest(self, counts: Counts) -> Floats:
        """[2 x edges] the distribution function of the reference; where it is within bounds, as near as possible."""
        return np.clip(_function(counts), self.low, self.high)


@dataclass(frozen=True)
class NumberCounts:
    """A column of numbers in the cells of `Bins`.

    Attributes:
        cells: [cells] rows of each.
        missing: rows without a value.
        invalid: rows whose value is no number or out of bounds; numbers are in `cells` too.
        minimum, maximum: of the numbers; infinite without any.
    """

    cells: Counts
    missing: int = 0
    invalid: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf

    @property
    def count(self) -> int:
        """Rows with a number."""
        return int(self.cells.sum())

    def merge(self, other: Self) -> Self:
        """The counts of both parts."""
        return type(self)(
            self.cells + other.cells,
            self.missing + other.missing,
            self.invalid + other.invalid,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )


# So many new categories are named.
NEW_NAMED = 64


@dataclass(frozen=True)
class CategoryCounts:
    """A column of texts, by the categories of a reference.

    Attributes:
        cells: [categories + 2] rows of each listed category, of all other known ones, and of new ones.
        missing: rows without a value.
        invalid: rows whose value is no text.
        new: rows of some new categories: those with the smallest fingerprints, which any split of the rows agrees on.
    """

    cells: Counts
    missing: int = 0
    invalid: int = 0
    new: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def count(self) -> int:
        """Rows with a text."""
        return int(self.cells.sum())

    def merge(self, other: Self) -> Self:
        """The counts of both parts."""
        new = dict(self.new)
        for text, rows in other.new.items():
            new[text] = new.get(text, 0) + rows
        return type(self)(
            self.cells + other.cells,
            self.missing + other.missing,
            self.invalid + other.invalid,
            named(new),
        )


def named(new: Mapping[str, int]) -> dict[str, int]:
    """Those of the new categories that are kept."""
    if len(new) <= NEW_NAMED:
        return dict(new)
    chosen = sorted(new, key=_fingerprint)[:NEW_NAMED]
    return {text: new[text] for text in chosen}


def number_divergence(counts: NumberCounts, bins: Bins) -> Distance:
    """The divergence of numbers from the reference of their cells; both must have values.

    Where the reference is known within bounds alone, it is what the divergence is at least.
    """
    if (bins.low < bins.high).any():
        return bounded_divergence(_function(counts.cells), bins.low, bins.high, counts.count, bins.rows)
    second = np.diff(bins.low, prepend=0.0, append=1.0)
    return divergence(counts.cells / counts.count, second, counts.count, bins.rows)


def number_difference(counts: NumberCounts, bins: Bins) -> Distance:
    """The Kolmogorov-Smirnov distance of numbers from the reference of their cells; both must have values."""
    return greatest_difference(_function(counts.cells), bins.nearest(counts.cells), counts.count, bins.rows)


def counts_divergence(first: Counts, second: Counts, *, ordered: bool) -> Distance:
    """The divergence of two columns counted in the same cells; both must have values.

    Args:
        first, second: [cells] rows.
        ordered: whether the cells are of numbers.
    """
    rows = int(first.sum()), int(second.sum())
    return divergence(first / rows[0], second / rows[1], *rows, ordered=ordered)


def quantiles_of(counts: NumberCounts, bins: Bins, fractions: Sequence[float]) -> list[float]:
    """Quantiles of numbers, interpolated within their cells; [] without numbers."""
    if not counts.count:
        return []
    edges = [float(edge) for edge in bins.edges]
    starts = [counts.minimum, *itertools.chain.from_iterable((edge, edge) for edge in edges)]
    ends = [*itertools.chain.from_iterable((edge, edge) for edge in edges), counts.maximum]
    above = np.cumsum(counts.cells)
    found = []
    for fraction in fractions:
        rank = fraction * counts.count
        cell = int(np.searchsorted(above, rank, side="left").clip(max=len(above) - 1))
        while not counts.cells[cell]:
            cell += 1
        start, end = (min(max(each[cell], counts.minimum), counts.maximum) for each in (starts, ends))
        inside = (rank - (above[cell] - counts.cells[cell])) / counts.cells[cell]
        found.append(start + (end - start) * float(np.clip(inside, 0.0, 1.0)))
    return found


def _function(counts: Counts) -> Floats:
    """[2 x edges] the fractions of the rows below each edge, and up to it."""
    function: Floats = np.cumsum(counts)[:-1] / counts.sum()
    return function


def to_json(counts: NumberCounts | CategoryCounts) -> dict[str, Any]:
    """The counts as JSON values."""
    plain: dict[str, Any] = {"cells": counts.cells.tolist(), "missing": counts.missing, "invalid": counts.invalid}
    if isinstance(counts, CategoryCounts):
        return {**plain, "new": dict(sorted(counts.new.items(), key=lambda item: (-item[1], item[0])))}
    some = counts.count > 0
    return {**plain, "minimum": counts.minimum if some else None, "maximum": counts.maximum if some else None}


def _fingerprint(text: str) -> tuple[bytes, str]:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), text
