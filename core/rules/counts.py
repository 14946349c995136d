"""Rule counts: refused and predicted rows that broke a rule, by reason and column; without numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from headrace.core.rules.fault import Mask, RuleViolation

Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class RuleCounts:
    """Counts of rows; a row with several faults counts for each.

    Attributes:
        refused: rows without a prediction, by reason and column.
        predicted: rows predicted although a value is out of bounds or unknown, by reason and column.
    """

    refused: Counts = field(default_factory=dict)
    predicted: Counts = field(default_factory=dict)

    @classmethod
    def of(cls, faults: Iterable[RuleViolation], predicted: Mask) -> Self:
        """Counts the faults of columns.

        Args:
            faults: the faults of a batch.
            predicted: mask of the rows that no fault refuses, [rows].
        """
        refused: dict[str, dict[str, int]] = {}
        let_through: dict[str, dict[str, int]] = {}
        for fault in faults:
            if fault.column is None:
                continue
            rows = int((fault.rows if fault.refuses else fault.rows & predicted).sum())
            into = refused if fault.refuses else let_through
            _add(into, {fault.reason: {fault.column: rows}} if rows else {})
        return cls(refused, let_through)

    def merge(self, other: Self) -> Self:
        """The sum of two counts."""
        refused = {reason: dict(columns) for reason, columns in self.refused.items()}
        predicted = {reason: dict(columns) for reason, columns in self.predicted.items()}
        _add(refused, other.refused)
        _add(predicted, other.predicted)
        return type(self)(refused, predicted)

    def let_through(self, reason: str, column: str) -> int:
        """Rows that were predicted although they broke the rule."""
        return self.predicted.get(reason, {}).get(column, 0)

    @property
    def metrics(self) -> dict[str, int]:
        """`predicted_REASON`, summed over columns; refused rows are counted as quarantined."""
        return {f"predicted_{reason}": sum(columns.values()) for reason, columns in sorted(self.predicted.items())}

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values, sorted by reason and column."""
        return {"refused": _sorted(self.refused), "predicted": _sorted(self.predicted)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Reads the result of `to_json`."""
        return cls(plain.get("refused", {}), plain.get("predicted", {}))


def _add(into: dict[str, dict[str, int]], more: Counts) -> None:
    for reason, columns in more.items():
        held = into.setdefault(reason, {})
        for column, rows in columns.items():
            held[column] = held.get(column, 0) + rows


def _sorted(counts: Counts) -> dict[str, dict[str, int]]:
    return {reason: dict(sorted(columns.items())) for reason, columns in sorted(counts.items())}
