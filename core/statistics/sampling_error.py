"""Sampling error of distances: what two samples of one distribution are apart by chance, and the distance without it.

Jensen-Shannon. For two samples of n and m values of one distribution over k cells, 8 ln(2) n m / (n + m) times the
divergence in bits follows the chi-squared distribution with k - 1 degrees of freedom (M. L. Menendez, J. A. Pardo,
L. Pardo and M. C. Pardo, "The Jensen-Shannon divergence", Journal of the Franklin Institute 334B, 1997). Its mean,
(k - 1) (1/n + 1/m) / (8 ln 2), is subtracted from the divergence, and its quantile at 1 - SIGNIFICANCE is the critical
value. This is so where each cell is expected to hold some values (W. G. Cochran, "Some methods for strengthening the
common chi-squared tests", Biometrics 10, 1954, asks for 5): cells are put together until they hold 10. With 5, samples
of hundreds of rare categories exceed the critical value several times too often, because the divergence of small counts
is above its approximation.

Kolmogorov-Smirnov. The greatest difference of the two distribution functions has the critical value
sqrt(-ln(SIGNIFICANCE / 2) / 2 (1/n + 1/m)) (N. Smirnov, "Table for estimating the goodness of fit of empirical
distributions", Annals of Mathematical Statistics 19, 1948); for values that repeat, and at some places only, it is too
large rather than too small.

Fractions. Their difference has the critical value z sqrt(p (1 - p) (1/n + 1/m)) with p of both samples together and z
the normal quantile at 1 - SIGNIFICANCE: the two-proportion z-test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from headrace.core.statistics.drift import relative_entropy

Floats = npt.NDArray[np.float64]

# Fraction of comparisons of samples of one distribution in which a distance is above its critical value.
SIGNIFICANCE = 0.001
_LEAST_EXPECTED = 10.0
# Multiplier of Fibonacci hashing (D. Knuth, "The art of computer programming", volume 3, 6.4).
_SCATTER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Distance:
    """A distance of two samples.

    Attributes:
        measured: as the samples are.
        expected: what it is on average without drift.
        critical: what it exceeds without drift in a fraction SIGNIFICANCE of comparisons.
    """

    measured: float
    expected: float
    critical: float

    @property
    def value(self) -> float:
        """The distance without its sampling error, 0 or more."""
        return max(0.0, self.measured - self.expected)

    @property
    def significant(self) -> bool:
        """Whether chance does not explain it."""
        return self.measured > self.critical

    def above(self, threshold: float) -> bool:
        """Whether it is above a threshold, and not by chance."""
        return self.significant and self.value > threshold


def divergence(
    first: Floats, second: Floats, first_rows: float, second_rows: float, *, ordered: bool = True
) -> Distance:
    """The Jensen-Shannon divergence in bits of two samples, in [0, 1].

    Args:
        first: [cells] fractions of the first sample that sum to 1.
        second: [cells] those of the second.
        first_rows: values in the first sample, above 0.
        second_rows: values in the second sample, above 0; infinite for a known distribution.
        ordered: whether neighbouring cells may be one, as of numbers; otherwise any rare ones.
    """
    p, q = _pooled(first, second, first_rows, second_rows, ordered=ordered)
    middle = (p + q) / 2
    measured = (relative_entropy(p, middle) + relative_entropy(q, middle)) / 2
    scale = (1 / first_rows + 1 / second_rows) / (8 * math.log(2))
    degrees = int((middle > 0).sum()) - 1
    critical = chi_squared_quantile(degrees, 1 - SIGNIFICANCE) * scale
    return Distance(min(max(measured, 0.0), 1.0), degrees * scale, critical)


def bounded_divergence(first: Floats, low: Floats, high: Floats, first_rows: float, second_rows: float) -> Distance:
    """The divergence in bits that two samples have at least, where the second one is known within bounds alone.

    Each place splits both samples in two, and the divergence of the whole is at least that of any split (data
    processing inequality). The greatest one is compared with that of the bound which is nearer. The critical value is
    that of one split at SIGNIFICANCE / places (Bonferroni); the expected one is what the greatest of as many
    independent splits is about.

    Args:
        first: [places] fractions of the first sample up to each place, ascending.
        low, high: [places] bounds of those of the second.
        first_rows, second_rows: as of `divergence`.
    """
    p, q = (np.stack([each, 1 - each]) for each in (first, np.clip(first, low, high)))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(each > 0, each * np.log2(each / middle), 0.0).sum(axis=0) for each in (p, q)]
    measured = float(((parts[0] + parts[1]) / 2).max(initial=0.0))
    scale = (1 / first_rows + 1 / second_rows) / (8 * math.log(2))
    places = max(len(first), 1)
    expected = chi_squared_quantile(1, 1 - 1 / (places + 1)) * scale
    critical = chi_squared_quantile(1, 1 - SIGNIFICANCE / places) * scale
    return Distance(min(max(measured, 0.0), 1.0), expected, critical)


def greatest_difference(first: Floats, second: Floats, first_rows: float, second_rows: float) -> Distance:
    """The Kolmogorov-Smirnov distance, in [0, 1], of two distribution functions known at the same places.

    Args:
        first: [places] fractions of the first sample up to each place, ascending.
        second: [places] those of the second.
        first_rows, second_rows: as of `divergence`.
    """
    critical = math.sqrt(-math.log(SIGNIFICANCE / 2) / 2 * (1 / first_rows + 1 / second_rows))
    return Distance(float(np.abs(first - second).max(initial=0.0)), 0.0, critical)


def increase(first: int, first_rows: int, second: float, second_rows: float) -> Distance:
    """By how much a fraction of rows is greater in the first sample, in [-1, 1].

    Args:
        first: rows of the first sample that are counted.
        first_rows: all of its rows, 1 or more.
        second: those of the second.
        second_rows: all of its rows, above 0; infinite, with `second` 0, for what never occurs.
    """
    before = second / second_rows
    together = before if math.isinf(second_rows) else (first + second) / (first_rows + second_rows)
    error = math.sqrt(together * (1 - together) * (1 / first_rows + 1 / second_rows))
    critical = NormalDist().inv_cdf(1 - SIGNIFICANCE) * error
    return Distance(first / first_rows - before, 0.0, critical)


def chi_squared_quantile(degrees: int, probability: float) -> float:
    """A quantile of the chi-squared distribution, within 2 % where the probability is 0.9 to 0.999.

    By the cube root, which is nearly normal (E. B. Wilson and M. M. Hilferty, "The distribution of chi-square",
    Proceedings of the National Academy of Sciences 17, 1931); exact for one and two degrees of freedom.

    Args:
        degrees: of freedom; 0 gives 0.
        probability: in (0, 1).
    """
    if degrees <= 0:
        return 0.0
    if degrees == 1:
        return NormalDist().inv_cdf((1 + probability) / 2) ** 2
    if degrees == 2:
        return -2 * math.log(1 - probability)
    width = 2 / (9 * degrees)
    quantile: float = degrees * (1 - width + NormalDist().inv_cdf(probability) * math.sqrt(width)) ** 3
    return quantile


def _pooled(
    first: Floats, second: Floats, first_rows: float, second_rows: float, *, ordered: bool
) -> tuple[Floats, Floats]:
    """The fractions of neighbouring cells that are expected to hold 10 values or more together.

    Without an order, those that hold them alone come first, and the others in an order of their places that depends on
    no sample: categories in the order of a sample would be apart by the error of that sample.
    """
    if math.isinf(second_rows):
        together = second
    else:
        together = (first * first_rows + second * second_rows) / (first_rows + second_rows)
    expected_values = together * min(first_rows, second_rows)
    if not ordered:
        few = expected_values < _LEAST_EXPECTED
        order = np.lexsort((np.arange(len(few), dtype=np.uint64) * _SCATTER, few))
        first, second, expected_values = first[order], second[order], expected_values[order]
    group, held, groups = 0, 0.0, []
    for expected in expected_values.tolist():
        groups.append(group)
        held += expected
        if held >= _LEAST_EXPECTED:
            group, held = group + 1, 0.0
    # The last ones, which are too few, belong to the group before.
    last = np.minimum(groups, max(group - 1, 0))
    p, q = (np.bincount(last, weights=each).astype(np.float64) for each in (first, second))
    return p, q
