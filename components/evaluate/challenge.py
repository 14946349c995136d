"""Challenge: when a new model replaces the champion, judged on rows of the newest data that neither has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from headrace.core.checks import check_count, is_finite
from headrace.core.errors import UsageError


@dataclass(frozen=True)
class Challenge:
    """Rule by which a challenger is compared with the champion, in the gate's metric.

    Args:
        margin: amount by which the challenger must be better, in the metric's unit, 0 or more: the confidence interval
            of the difference, by a paired bootstrap, must lie above it.
        tolerance: amount by which a challenger may be worse than a stale champion, and on a slice than any champion,
            in the metric's unit, 0 or more: it is worse where the whole interval lies beyond.
        stale_after: number of newer spans after which the champion is stale, 1 or more; 0 for never.

    Raises:
        UsageError: a value is not in its range.
    """

    margin: float = 0.0
    tolerance: float = 0.0
    stale_after: int = 7

    def __post_init__(self) -> None:
        for name in ("margin", "tolerance"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise UsageError(f"{name} is wrong", where="Challenge", expected="0 or more", received=repr(value))
        check_count(self.stale_after, "stale_after", minimum=0, where="Challenge")

    def to_json(self) -> dict[str, Any]:
        """The rule by name."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Challenge:
        """The rule of `to_json`; a value that is missing has its default.

        Raises:
            UsageError: an unknown name, or a value that is not in its range.
        """
        unknown = sorted(set(content) - {field.name for field in fields(Challenge)})
        if unknown:
            raise UsageError("the challenge has no such option", where="Challenge", received=", ".join(unknown))
        given = dict(content)
        # Engines keep whole numbers of a JSON object as floats.
        if isinstance(given.get("stale_after"), float) and given["stale_after"].is_integer():
            given["stale_after"] = int(given["stale_after"])
        return Challenge(**given)
