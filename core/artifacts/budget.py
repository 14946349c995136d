"""Quarantine budget: the fraction of rows that may be quarantined, as a table for errors."""

from __future__ import annotations

from collections.abc import Mapping


def budget_table(reasons: Mapping[str, int], rows_in: int, budget: float) -> list[list[str]]:
    """Table of quarantined rows by reason, and of all of them compared with the budget."""
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    total = sum(reasons.values())
    return [
        ["reason", "rows", "share", "expected"],
        *([reason, f"{count:,}", f"{count / rows_in:.2%}", ""] for reason, count in counted),
        ["all", f"{total:,}", f"{total / rows_in:.2%}", f"at most {100 * budget:g} %"],
    ]
