"""Percentile bootstrap confidence intervals of every metric, for all rows and for slices, from one matrix of weights.

Method. A resample of n rows with replacement gives row i a weight: how often it was drawn (Efron 1979, "Bootstrap
methods: another look at the jackknife"). Metrics that follow from sums over rows then cost one matrix product for all
resamples. The interval at confidence c lies between the (1 - c) / 2 and (1 + c) / 2 quantiles of the resampled values
(Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13).

Large splits. Above GROUPS rows, rows are assigned at random to GROUPS groups of equal size, and groups are resampled
instead of rows (random groups: Wolter 2007, "Introduction to variance estimation", chapter 2). For independent rows the
spread of resampled groups estimates the same standard error with GROUPS - 1 degrees of freedom, which at 1000 groups is
an error of some 2 % of the interval's width, and time and memory no longer grow with n times the number of resamples.
Scores are then put into SCORE_BINS bins for the resampled `auc` and `auc_pr`, and the small bias of the bins is
subtracted.

Slices use the same resamples: the rows of a slice have their weights of the whole split, so the size of a slice varies
between resamples as it would between test splits.

Sample weights belong to their rows: all rows are drawn with equal probability, and a row that is drawn twice counts
twice its weight. Models on the same rows use the same resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.core import metrics
from headrace.core.metrics import Floats, Integers, Outcomes
from headrace.core.problem import METRICS

GROUPS = 1000
SCORE_BINS = 256
_CACHED = 65_536
# Minimum fraction of resamples in which a metric must be defined for an interval.
_LEAST_DEFINED = 0.5

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Resamples:
    """The count of each row in each resample.

    Attributes:
        groups: [rows], the group of each row.
        weights: [groups, resamples], how often each resample drew the group.
    """

    groups: Integers
    weights: Floats

    @cached_property
    def counts(self) -> NDArray[np.float32]:
        """`weights` in half the memory, for `auc` and `auc_pr` without sample weights: sums of whole numbers."""
        return self.weights.astype(np.float32)


def draw(rows: int, *, resamples: int, seed: int) -> Resamples:
    """Draws resamples; the same arguments give the same ones on any machine.

    Args:
        rows: of the split, 1 or more.
        resamples: number of resamples, 1 or more.
        seed: of numpy's PCG64 generator, 0 or more.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    count = min(rows, GROUPS)
    groups = np.arange(rows) if rows == count else random.permutation(rows) % count
    drawn = random.integers(0, count, size=(resamples, count))
    flat = drawn * resamples + np.arange(resamples)[:, None]
    weights = np.bincount(flat.ravel(), minlength=count * resamples).reshape(count, resamples)
    return Resamples(groups.astype(np.int64), weights.astype(np.float64))


def intervals(
    outcomes: Outcomes, resamples: Resamples, *, confidence: float, rows: Integers | None = None
) -> dict[str, Interval]:
    """The interval of each metric; None where fewer than two rows, or too few resamples, define it.

    Args:
        outcomes: of the rows that `resamples` was drawn for.
        resamples: from `draw`.
        confidence: in (0, 1).
        rows: indices of a slice's rows; all rows if None.
    """
    names = list(METRICS[outcomes.task])
    if (outcomes.rows if rows is None else len(rows)) < 2:
        return dict.fromkeys(names)
    resampled = _resampled(outcomes, resamples, rows)
    return dict(zip(names, _percentiles(np.stack([resampled[n] for n in names]), confidence), strict=True))


def difference(
    outcomes: Outcomes,
    others: Outcomes,
    resamples: Resamples,
    metric: str,
    *,
    confidence: float,
    rows: Integers | None = None,
) -> Interval:
    """The interval of a metric's difference, `outcomes` minus `others`, by a paired bootstrap; None as in `intervals`.

    Args:
        outcomes: of the rows that `resamples` was drawn for.
        others: of the same rows, predicted by another model.
        resamples: from `draw`; both models are measured on the same resamples.
        metric: one of METRICS.
        confidence: in (0, 1).
        rows: indices of a slice's rows; all rows if None.
    """
    if (outcomes.rows if rows is None else len(rows)) < 2:
        return None
    first, second = (_resampled(each, resamples, rows)[metric] for each in (outcomes, others))
    return _percentiles((first - second)[None, :], confidence)[0]


def _resampled(outcomes: Outcomes, resamples: Resamples, rows: Integers | None) -> dict[str, Floats]:
    """[resamples] of each metric."""
    groups = resamples.groups if rows is None else resamples.groups[rows]
    weights = resamples.weights
    if len(groups) < len(weights):
        # Few rows are in few groups: the other groups are excluded from the product.
        present, local = np.unique(groups, return_inverse=True)
        added = metrics.sums(outcomes, rows=rows, groups=local.astype(np.int64), count=len(present)) @ weights[present]
    else:
        added = metrics.sums(outcomes, rows=rows, groups=groups, count=len(weights)) @ weights
    resampled = metrics.from_sums(outcomes, added)
    if outcomes.task == "binary":
        drawn: NDArray[np.floating] = resamples.counts if outcomes.weight is None else resamples.weights
        resampled |= _resampled_ranking(outcomes, groups, drawn, rows)
    return resampled


def _resampled_ranking(
    outcomes: Outcomes, groups: Integers, weights: NDArray[np.floating], rows: Integers | None
) -> dict[str, Floats]:
    """[resamples] of `auc` and of `auc_pr`."""
    ranks = outcomes.ranks if rows is None else outcomes.ranks[rows]
    positive = (outcomes.label if rows is None else outcomes.label[rows]) == 1
    of_row = metrics.weights_of(outcomes, rows)
    if len(ranks) <= GROUPS:
        order = np.argsort(ranks, kind="stable")
        starts = np.flatnonzero(np.diff(ranks[order], prepend=-1))
        parts = []
        # As many resamples at a time as fit into the processor's cache.
        step = max(1, _CACHED // len(order))
        for first in range(0, weights.shape[1], step):
            drawn = weights[groups[order], first : first + step]
            if of_row is not None:
                drawn = drawn * of_row[order, None]
            of_positive = drawn * positive[order, None]
            added = (np.add.reduceat(w, starts, axis=0) for w in (of_positive, drawn - of_positive))
            parts.append(metrics.from_ranking(*added))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    bins = _bins(ranks, positive)
    count = int(bins.max()) + 1
    by_bin = [
        np.bincount(
            bins[of] * len(weights) + groups[of],
            weights=None if of_row is None else of_row[of],
            minlength=count * len(weights),
        )
        .reshape(count, len(weights))
        .astype(weights.dtype)
        for of in (positive, ~positive)
    ]
    resampled = metrics.from_ranking(by_bin[0] @ weights, by_bin[1] @ weights)
    binned = metrics.from_ranking(by_bin[0].sum(axis=1, dtype=np.float64), by_bin[1].sum(axis=1, dtype=np.float64))
    exact = metrics.from_ranking(*metrics.ranking(outcomes, rows))
    return {name: np.clip(resampled[name] + (exact[name] - binned[name]), 0.0, 1.0) for name in resampled}


def _bins(ranks: Integers, positive: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Integers:
    """Each row's bin: half of the edges are quantiles of the positive rows' ranks, half of the negative rows'."""
    shares = np.linspace(0.0, 1.0, SCORE_BINS // 2)
    parts = [np.quantile(ranks[of], shares, method="nearest") for of in (positive, ~positive) if of.any()]
    return np.searchsorted(np.unique(np.concatenate(parts)), ranks).astype(np.int64)


def _percentiles(resampled: Floats, confidence: float) -> list[Interval]:
    """The two quantiles of each row of [metrics, resamples], with linear interpolation, over defined values."""
    ordered = np.sort(np.where(np.isfinite(resampled), resampled, np.nan), axis=1)
    defined = np.isfinite(ordered).sum(axis=1)
    ends = []
    for share in ((1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0):
        place = share * np.maximum(defined - 1, 0)
        below = np.floor(place).astype(np.int64)
        above = np.ceil(place).astype(np.int64)
        values = [np.take_along_axis(ordered, at[:, None], axis=1)[:, 0] for at in (below, above)]
        ends.append(values[0] + (place - below) * (values[1] - values[0]))
    enough = defined >= _LEAST_DEFINED * ordered.shape[1]
    return [(float(a), float(b)) if good else None for a, b, good in zip(*ends, enough, strict=True)]
