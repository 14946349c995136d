"""Job counters: their names and their summary line. Free of Beam, so that work without Beam reports the same."""

from __future__ import annotations

from collections.abc import Mapping


def quarantined(reasons: Mapping[str, int]) -> dict[str, int]:
    """Counters of quarantined rows: one for each reason, and "quarantined" for all; empty where there are none."""
    counted = {f"quarantined_{reason}": number for reason, number in reasons.items()}
    return {**counted, "quarantined": sum(reasons.values())} if reasons else {}


def format_counters(metrics: Mapping[str, int], units: Mapping[str, tuple[str, str]]) -> str:
    """Formats a job's counters as one line: each of `units` by the counter's name, and the quarantined rows.

    Args:
        metrics: the counters.
        units: of each counter, (singular, plural).
    """
    line = ", ".join(
        f"{metrics.get(name, 0):,} {one if metrics.get(name, 0) == 1 else several}"
        for name, (one, several) in units.items()
    )
    reasons = {name.partition("_")[2]: number for name, number in metrics.items() if name.startswith("quarantined_")}
    by_reason = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
    return f"{line}, {metrics.get('quarantined', 0):,} quarantined{f' ({by_reason})' if by_reason else ''}"
