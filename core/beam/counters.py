"""What a job counts, and how that is told; without Beam, so that work without it can say the same."""

from __future__ import annotations

from collections.abc import Mapping


def quarantined(reasons: Mapping[str, int]) -> dict[str, int]:
    """Rows that went to quarantine, under the names of their counters."""
    counted = {f"quarantined_{reason}": number for reason, number in reasons.items()}
    return {**counted, "quarantined": sum(reasons.values())} if reasons else {}


def told(metrics: Mapping[str, int], units: Mapping[str, tuple[str, str]]) -> str:
    """What a job counted, in a line to read: each of `units` by the counter's name, and what was quarantined.

    Args:
        metrics: the counters.
        units: of each counter, (what one is called, what several are called).
    """
    listed = ", ".join(
        f"{metrics.get(name, 0):,} {one if metrics.get(name, 0) == 1 else several}"
        for name, (one, several) in units.items()
    )
    reasons = {name.partition("_")[2]: number for name, number in metrics.items() if name.startswith("quarantined_")}
    why = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
    return f"{listed}, {metrics.get('quarantined', 0):,} quarantined{f' ({why})' if why else ''}"
