"""Sketches: summaries of a column in bounded memory that can be merged; exact while they are small.

Maximum errors, which statistics.json also holds under "error", and which hold for merged parts too:

- counts, missing values, minimum, maximum: exact; mean and standard deviation: rounding;
- quantiles: exact up to QUANTILE_CAPACITY distinct numbers; then a t-digest with a rank error of at most RANK_ERROR
  (0.5 % of the rows), as tested on uniform, normal, log-normal, sorted and clustered numbers;
- vocabularies: exact up to statistics.VOCABULARY_CAPACITY distinct texts; then a frequent-items sketch, whose counts
  are never too low and too high by at most 3.5 / 2^17 (0.0027 %) of the rows; no text with more rows is missing;
- distinct texts: exact up to the same; then HyperLogLog, with an error of at most 2.5 % with 99.7 % confidence.

The sketches are those of Apache DataSketches. They are stored serialized, so that they can be sent between processes,
and none of them draws random numbers (as its KLL does), so that the same parts merged in the same order give the same
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import datasketches
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Distinct numbers stored exactly, with their counts; above that, a t-digest replaces them.
QUANTILE_CAPACITY = 8192
# Compression of the t-digest: 40 KB.
_DIGEST_COMPRESSION = 2000
# Error of a quantile's rank, as a fraction of the rows. A t-digest has no bound that is proven for all data; this is
# more than twice the error measured on uniform, normal, log-normal, sorted and clustered numbers, whole and in parts.
RANK_ERROR = 0.005
# Quantiles that are looked through for the first number above one that most rows have.
_FINEST = 1000
# Numbers added to a digest at once where each is repeated for many rows.
_CHUNK = 1 << 20

# 2 ** 14 registers of HyperLogLog: 16 KB, a standard error of 0.8 %.
_REGISTERS = 14
_STANDARD_DEVIATIONS = 3


@dataclass(frozen=True)
class Quantiles:
    """Summary of numbers from which quantiles are computed.

    Attributes:
        values, counts: distinct values in increasing order, and the rows of each; empty once there is a digest.
        digest: a serialized t-digest, above QUANTILE_CAPACITY distinct values.
    """

    values: Floats
    counts: Counts
    digest: bytes | None = None

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Summarizes values in any order, without NaN."""
        distinct, counts = np.unique(values, return_counts=True)
        if len(distinct) <= QUANTILE_CAPACITY:
            return cls(distinct, counts.astype(np.int64))
        digest = datasketches.tdigest_double(_DIGEST_COMPRESSION)
        # DataSketches refuses a read-only array, such as one over Arrow's memory.
        digest.update(np.array(values, np.float64))
        return cls._digested(digest)

    @classmethod
    def of_counts(cls, values: Floats, counts: Counts) -> Self | None:
        """Summarizes values that are counted already, in any order, without NaN; None above QUANTILE_CAPACITY.

        A value may be there several times, as 0.0 and -0.0 are equal.
        """
        distinct, places = np.unique(values, return_inverse=True)
        if len(distinct) > QUANTILE_CAPACITY:
            return None
        rows = np.zeros(len(distinct), np.int64)
        np.add.at(rows, places, counts)
        return cls(distinct, rows)

    @property
    def error(self) -> float:
        """Maximum error of a quantile's rank, as a fraction of the rows; 0 where quantiles are exact."""
        return 0.0 if self.digest is None else RANK_ERROR

    def merge(self, other: Self) -> Self:
        """Merges two parts."""
        if self.digest is None and other.digest is None:
            values: Floats = np.concatenate([self.values, other.values])
            counts: Counts = np.concatenate([self.counts, other.counts])
            merged = self.of_counts(values, counts)
            if merged is not None:
                return merged
        digest = self._as_digest()
        digest.merge(other._as_digest())
        return self._digested(digest)

    def quantiles(self, fractions: Sequence[float]) -> list[float]:
        """The quantiles at these fractions of the rows, within `error`; [] if there are no rows.

        Exact ones are interpolated between neighbouring ranks, as numpy.quantile does.
        """
        if self.digest is not None:
            digest = datasketches.tdigest_double.deserialize(self.digest)
            return [float(digest.get_quantile(fraction)) for fraction in fractions]
        if not len(self.values):
            return []
        ends = np.cumsum(self.counts)
        rank = np.asarray(fractions) * (ends[-1] - 1)
        below = self.values[np.searchsorted(ends, np.floor(rank), side="right")]
        above = self.values[np.searchsorted(ends, np.ceil(rank), side="right")]
        return [float(value) for value in below + (above - below) * (rank - np.floor(rank))]

    def boundaries(self, buckets: int) -> list[float]:
        """Boundaries of up to so many buckets of equally many rows, within `error`; [] if there are no rows.

        They are quantiles in float32, which models compare in, ascending and each once, and above the smallest value.
        Where that value fills all buckets, there are two: one of it, and one of what is above. It is a boundary itself
        only where there is no other value.
        """
        found = self._single([step / buckets for step in range(buckets)])
        if len(found) == 1:
            found = self._single([step / _FINEST for step in range(_FINEST + 1)])[:2]
        return [float(str(boundary)) for boundary in (found[1:] if len(found) > 1 else found)]

    def _single(self, fractions: Sequence[float]) -> npt.NDArray[np.float32]:
        """The different quantiles in float32, ascending."""
        return np.unique(np.array(self.quantiles(fractions), np.float64).astype(np.float32))

    @classmethod
    def _digested(cls, digest: Any) -> Self:
        return cls(np.zeros(0), np.zeros(0, np.int64), digest.serialize())

    def _as_digest(self) -> Any:
        if self.digest is not None:
            return datasketches.tdigest_double.deserialize(self.digest)
        digest = datasketches.tdigest_double(_DIGEST_COMPRESSION)
        # A digest accepts no weights: a value is added as often as it occurs, in chunks.
        ends = np.cumsum(self.counts)
        total = int(ends[-1]) if len(ends) else 0
        for start in range(0, total, _CHUNK):
            ranks = np.arange(start, min(start + _CHUNK, total))
            digest.update(self.values[np.searchsorted(ends, ranks, side="right")])
        return digest


@dataclass(frozen=True)
class FrequentTexts:
    """The most frequent texts of a column with too many distinct ones to count each.

    Attributes:
        frequent: a serialized frequent-items sketch (Misra and Gries, as Anderson and others improved it, 2017).
        distinct: a serialized HyperLogLog sketch.
    """

    frequent: bytes
    distinct: bytes

    @classmethod
    def of(cls, counts: Mapping[str, int], capacity: int) -> Self:
        """Summarizes texts by the rows of each; the sketch holds 0.75 x `capacity` texts, rounded up to 2^n."""
        frequent = datasketches.frequent_strings_sketch(max(3, (capacity - 1).bit_length()))
        for text, count in counts.items():
            frequent.update(text, count)
        return cls(frequent.serialize(), _distinct(counts).serialize_compact())

    def add(self, counts: Mapping[str, int]) -> Self:
        """A sketch with more texts, and the rows of each."""
        frequent = datasketches.frequent_strings_sketch.deserialize(self.frequent)
        for text, count in counts.items():
            frequent.update(text, count)
        return type(self)(frequent.serialize(), _union([self.distinct, _distinct(counts).serialize_compact()]))

    def merge(self, other: Self) -> Self:
        """Of both parts."""
        frequent = datasketches.frequent_strings_sketch.deserialize(self.frequent)
        frequent.merge(datasketches.frequent_strings_sketch.deserialize(other.frequent))
        return type(self)(frequent.serialize(), _union([self.distinct, other.distinct]))

    def counts(self) -> tuple[dict[str, int], int]:
        """Texts and estimates of their rows, and the maximum by which these may be too high.

        Every text with more rows than that error is included, and no estimate is too low.
        """
        sketch = datasketches.frequent_strings_sketch.deserialize(self.frequent)
        kind = datasketches.frequent_items_error_type.NO_FALSE_POSITIVES
        found = sketch.get_frequent_items(kind)
        # The rows that an evicted text may have had are the maximum error of every estimate.
        error = int(sketch.get_upper_bound("")) - int(sketch.get_lower_bound(""))
        return {text: int(estimate) for text, estimate, _, _ in found}, error

    def distinct_count(self) -> tuple[int, float]:
        """Estimated number of distinct texts, and its relative error with 99.7 % confidence."""
        sketch = datasketches.hll_sketch.deserialize(self.distinct)
        error = abs(datasketches.hll_sketch.get_rel_err(False, True, _REGISTERS, _STANDARD_DEVIATIONS))
        return round(sketch.get_estimate()), float(error)


def _distinct(texts: Iterable[str]) -> Any:
    sketch = datasketches.hll_sketch(_REGISTERS, datasketches.HLL_8)
    for text in texts:
        sketch.update(text)
    return sketch


def _union(parts: Sequence[bytes]) -> bytes:
    union = datasketches.hll_union(_REGISTERS)
    for part in parts:
        union.update(datasketches.hll_sketch.deserialize(part))
    content: bytes = union.get_result(datasketches.HLL_8).serialize_compact()
    return content
