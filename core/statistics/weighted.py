"""Weighted label statistics: what the sample weights of the train split add up to, by label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from headrace.core.values.scaling import unscaled_number

if TYPE_CHECKING:
    # Training reads these statistics, and its image lacks pyarrow.
    import pyarrow as pa


@dataclass(frozen=True)
class WeightedLabel:
    """Sums over rows, which parts add.

    Attributes:
        label: the label's column.
        weight: the sum of the weights.
        moment: the sum of weight times label; 0 for classes.
        classes: the sum of the weights of each class; empty for numbers.
    """

    label: str
    weight: float
    moment: float
    classes: Mapping[str, float]

    @classmethod
    def measure(cls, label: str, labels: pa.ChunkedArray, weights: pa.ChunkedArray) -> Self:
        """Sums over rows.

        Args:
            label: the label's column.
            labels: [rows] numbers or strings, without nulls.
            weights: [rows] numbers of 0 or more, without nulls.
        """
        values = weights.to_numpy().astype(np.float64)
        total = float(values.sum())
        if str(labels.type) in ("string", "large_string"):
            encoded = labels.combine_chunks().dictionary_encode()
            names = encoded.dictionary.to_pylist()
            added = np.bincount(encoded.indices.to_numpy(), weights=values, minlength=len(names))
            return cls(label, total, 0.0, dict(sorted(zip(names, added.tolist(), strict=True))))
        return cls(label, total, float((values * labels.to_numpy().astype(np.float64)).sum()), {})

    @classmethod
    def of_entry(cls, label: str, entry: Mapping[str, Any], factor: float) -> Self:
        """The sums over rows whose weights are multiplied by a factor: 1 for rows without a weight.

        Args:
            label: the label's column.
            entry: the label's entry in statistics.json.
            factor: of all rows.
        """
        found = entry.get("weighted") or {**entry, "weight": float(entry["count"])}
        weight = factor * found["weight"]
        if "vocabulary" in found:
            return cls(label, weight, 0.0, dict(sorted((name, factor * rows) for name, rows in found["vocabulary"])))
        return cls(label, weight, weight * (found["mean"] or 0.0), {})

    def merge(self, other: Self) -> Self:
        """The sums of both parts."""
        names = sorted({*self.classes, *other.classes})
        classes = {name: self.classes.get(name, 0.0) + other.classes.get(name, 0.0) for name in names}
        return type(self)(self.label, self.weight + other.weight, self.moment + other.moment, classes)

    def to_json(self, exponent: int = 0) -> dict[str, Any]:
        """The entry "weighted" of the label in statistics.json: its weighted mean, or the weight of each class.

        The mean is None where all weights are 0. Classes come by their weight, the greatest first.

        Args:
            exponent: of the label, whose mean is returned in its own unit.
        """
        if self.classes:
            ordered = sorted(self.classes.items(), key=lambda item: (-item[1], item[0]))
            return {"weight": self.weight, "vocabulary": [list(item) for item in ordered]}
        mean = unscaled_number(self.moment / self.weight, exponent) if self.weight else None
        return {"weight": self.weight, "mean": mean}


def as_weighted(label: Mapping[str, Any]) -> Mapping[str, Any]:
    """A label's entry in statistics.json as if its rows counted by their weights: the mean, or the rows of classes.

    The rows add up to as many as there are. Without weights, or where all of them are 0, the entry is as it was.
    """
    weighted = label.get("weighted")
    if not weighted or not weighted["weight"]:
        return label
    if "mean" in weighted:
        return {**label, "mean": weighted["mean"]}
    scale = label["count"] / weighted["weight"]
    return {**label, "vocabulary": [[name, weight * scale] for name, weight in weighted["vocabulary"]]}
