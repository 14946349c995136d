"""Challenge: decides on test rows of the newest span, unseen by both, whether a new model replaces the champion.

The decisions are pure functions of confidence intervals of the difference, by a paired bootstrap of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from headrace.components.evaluate.gate import HIGHER_IS_BETTER, GateCheck
from headrace.core.checks import check_count, is_finite
from headrace.core.errors import UsageError

Interval = tuple[float, float] | None


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
            raise UsageError(
                "the option of the challenge does not exist", where="Challenge", received=", ".join(unknown)
            )
        given = dict(content)
        # Engines store whole numbers of a JSON object as floats.
        if isinstance(given.get("stale_after"), float) and given["stale_after"].is_integer():
            given["stale_after"] = int(given["stale_after"])
        return Challenge(**given)


@dataclass(frozen=True)
class ChallengerComparison:
    """Comparison of one challenger.

    Attributes:
        margin, tolerance: as of `Challenge`.
        stale: whether the champion is stale: a challenger replaces it unless it is clearly worse.
        newer_spans: number of spans in the window that the champion has not seen.
        spoiled: why the champion is stale whatever it has seen, such as a span that is withdrawn now; "" otherwise.
    """

    margin: float = 0.0
    tolerance: float = 0.0
    stale: bool = False
    newer_spans: int = 0
    spoiled: str = ""

    @staticmethod
    def of(challenge: Challenge, newer_spans: int, spoiled: str = "") -> ChallengerComparison:
        """The comparison with a champion that has not seen this number of spans, or that is spoiled."""
        stale = bool(spoiled) or (bool(challenge.stale_after) and newer_spans >= challenge.stale_after)
        return ChallengerComparison(float(challenge.margin), float(challenge.tolerance), stale, newer_spans, spoiled)

    def to_json(self) -> dict[str, Any]:
        """The comparison by name."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> ChallengerComparison | None:
        """The comparison of `to_json`; None for {}.

        Raises:
            UsageError: it is not valid.
        """
        if not content:
            return None
        try:
            # Engines store numbers of a JSON object as floats.
            return ChallengerComparison(
                float(content["margin"]),
                float(content["tolerance"]),
                bool(content["stale"]),
                int(content["newer_spans"]),
                str(content.get("spoiled", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("the comparison is not valid", received=repr(dict(content))) from error


def judge_all(
    comparison: ChallengerComparison,
    metric: str,
    where: str,
    challenger: float | None,
    champion: float | None,
    interval: Interval,
) -> GateCheck:
    """Whether a challenger replaces the champion, by all rows of the newest span.

    Args:
        comparison: the rule.
        metric: one of METRICS.
        where: the rows, in words.
        challenger, champion: their values; None where undefined.
        interval: of challenger minus champion; None where undefined.
    """
    bound = _bound(comparison)
    if challenger is None or champion is None or interval is None:
        reason = f"{metric} on {where}: the champion cannot be compared, too few rows define it: the champion stays."
        return GateCheck(where, metric, challenger, bound, False, reason)
    low, high = _gain(metric, interval)
    passed = high >= -comparison.tolerance if comparison.stale else low > comparison.margin
    verdict = "passed" if passed else "the champion stays"
    reason = (
        f"{metric} on {where} is {challenger:.4g}; the champion's is {champion:.4g}; the interval of the gain is "
        f"{low:.4g} to {high:.4g}, and must be {bound}: {verdict}."
    )
    return GateCheck(where, metric, challenger, bound, passed, reason)


def judge_slice(
    comparison: ChallengerComparison,
    metric: str,
    where: str,
    challenger: float | None,
    champion: float | None,
    interval: Interval,
) -> GateCheck | None:
    """Whether a challenger is clearly worse on a slice of the newest span; None if that cannot be decided."""
    if challenger is None or champion is None or interval is None:
        return None
    low, high = _gain(metric, interval)
    passed = high >= -comparison.tolerance
    bound = f"not below {-comparison.tolerance:g}"
    reason = (
        f"{metric} on {where} is {challenger:.4g}; the champion's is {champion:.4g}; the interval of the gain is "
        f"{low:.4g} to {high:.4g}: {'passed' if passed else 'clearly worse, failed'}."
    )
    return GateCheck(where, metric, challenger, bound, passed, reason)


def _bound(comparison: ChallengerComparison) -> str:
    if comparison.spoiled:
        return f"not below {-comparison.tolerance:g}, as {comparison.spoiled}"
    if comparison.stale:
        return f"not below {-comparison.tolerance:g}, as the champion has not seen {comparison.newer_spans} spans"
    return f"above {comparison.margin:g}"


def _gain(metric: str, interval: tuple[float, float]) -> tuple[float, float]:
    """The interval of the improvement: positive where the challenger is better."""
    low, high = interval
    return (low, high) if HIGHER_IS_BETTER[metric] else (-high, -low)
