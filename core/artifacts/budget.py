"""Quarantine budget: how much of the data may be refused, as a table for errors."""

from __future__ import annotations

from collections.abc import Mapping


def budget_table(reasons: Mapping[str, int], rows_in: int, budget: float) -> list[list[str]]:
    """Table of the quarantined rows by reason, and in all against the budget, for an error to show."""
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    total = sum(reasons.values())
    return [
        ["reason", "rows", "share", "expected"],
        *([reason, f"{count:,}", f"{count / rows_in:.2%}", ""] for reason, count in counted),
        ["all", f"{total:,}", f"{total / rows_in:.2%}", f"at most {100 * budget:g} %"],
    ]
