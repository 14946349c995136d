"""Leak probe: how well a single column predicts the label, on rows that were not used for its fit; and the baseline.

A column that predicts the label almost perfectly usually contains it: in another unit, as a code, or as a value that is
recorded afterwards. Every model with it looks perfect, and it is not available when a prediction is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.core.values.scaling import unscaled_number

# A single column that removes more than this fraction of the baseline's error is suspected to contain the label.
SUSPECT = 0.98
# Minimum number of rows for a meaningful result.
_ROWS = 40
_BINS = 200

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Label:
    """The label of the rows that have one.

    Attributes:
        values: [rows], numbers or indices of classes.
        classes: whether they are classes.
    """

    values: Floats
    classes: bool

    @property
    def baseline(self) -> float:
        """The fraction of rows of the most frequent class; for numbers, the root mean squared error of the mean."""
        if self.classes:
            return float(np.bincount(self.values.astype(np.int64)).max() / len(self.values))
        exponent = _exponent(self.values)
        return unscaled_number(float(np.ldexp(self.values, -exponent).std()), exponent)


def _exponent(values: Floats) -> int:
    """The exponent of the largest number, without which squares may overflow; 0 if there is none."""
    finite = values[np.isfinite(values)]
    return int(np.frexp(np.abs(finite).max(initial=0.0))[1])


def explained(label: Label, column: Floats | Codes) -> float:
    """The fraction of the baseline's error that a single column removes, at most 1.

    It is fitted on one half of the rows and measured on the other. The error is the squared error for a number
    (r_squared), and the fraction of wrong rows for a class.

    Args:
        label: of the rows.
        column: [rows], float64 numbers with NaN for missing ones, or int64 codes of categories.
    """
    if len(label.values) < _ROWS:
        return 0.0
    half = np.random.default_rng(0).permutation(len(label.values)) % 2 == 0
    if column.dtype == np.int64:
        return _score(label, half, [np.asarray(column, np.int64)])
    numbers = np.asarray(column, np.float64)
    numbers = np.ldexp(numbers, -_exponent(numbers))
    if not label.classes:
        label = Label(np.ldexp(label.values, -_exponent(label.values)), classes=False)
    found = [_binned(numbers, half, len(numbers) // 2 + 1), _binned(numbers, half, _BINS)]
    best = _score(label, half, found)
    return best if label.classes else max(best, _linear(label.values, half, numbers))


def _binned(column: Floats, half: npt.NDArray[np.bool_], bins: int) -> Codes:
    """Numbers as indices of at most `bins` quantiles; missing numbers have a separate bin."""
    present = column[half & ~np.isnan(column)]
    if not len(present):
        return np.zeros(len(column), np.int64)
    bounds = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)))
    codes = np.searchsorted(bounds, column, side="right")
    return np.where(np.isnan(column), len(bounds) + 1, codes)


def _score(label: Label, half: npt.NDArray[np.bool_], codings: list[Codes]) -> float:
    """The best of several codings of a column."""
    return max(
        _of_classes(label.values, half, c) if label.classes else _of_means(label.values, half, c) for c in codings
    )


def _of_means(values: Floats, half: npt.NDArray[np.bool_], codes: Codes) -> float:
    mean = values[half].mean()
    size = int(codes.max()) + 1
    count = np.bincount(codes[half], minlength=size)
    total = np.bincount(codes[half], values[half], minlength=size)
    means = np.where(count > 0, total / np.maximum(count, 1), mean)
    return _removed(values[~half], means[codes[~half]], mean)


def _linear(values: Floats, half: npt.NDArray[np.bool_], column: Floats) -> float:
    filled = np.where(np.isnan(column), np.nanmean(column) if not np.isnan(column).all() else 0.0, column)
    with np.errstate(all="ignore"):
        x, mean = filled - filled[half].mean(), values[half].mean()
        variance = float((x[half] ** 2).mean())
        if not variance or not np.isfinite(variance):
            return 0.0
        slope = float((x[half] * (values[half] - mean)).mean()) / variance
    return _removed(values[~half], mean + slope * x[~half], mean)


def _removed(values: Floats, predicted: Floats, mean: float) -> float:
    with np.errstate(all="ignore"):
        error, baseline = ((values - predicted) ** 2).sum(), ((values - mean) ** 2).sum()
    return float(1 - error / baseline) if baseline > 0 and np.isfinite(error) and np.isfinite(baseline) else 0.0


def _of_classes(values: Floats, half: npt.NDArray[np.bool_], codes: Codes) -> float:
    labels = values.astype(np.int64)
    classes = int(labels.max()) + 1
    pairs = np.bincount(codes[half] * classes + labels[half], minlength=(int(codes.max()) + 1) * classes)
    table = pairs.reshape(-1, classes)
    commonest = int(np.bincount(labels[half], minlength=classes).argmax())
    predicted = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), commonest)
    wrong, baseline = (predicted[codes[~half]] != labels[~half]).mean(), (labels[~half] != commonest).mean()
    return float(1 - wrong / baseline) if baseline > 0 else 0.0
