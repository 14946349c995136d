"""Golden rows: comparison of JSON predictions with those that a Model holds for its golden rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# float32 holds seven digits; near 0, what counts is the size of the output's other values.
_RELATIVE = 1e-5
_OF_LARGEST = 1e-6


class GoldenDifference(NamedTuple):
    """A prediction that differs.

    Attributes:
        where: its row and output.
        expected: the Model's prediction, as JSON.
        received: the other one.
    """

    where: str
    expected: str
    received: str


def first_difference(received: Sequence[Any], expected: Sequence[Mapping[str, Any]]) -> GoldenDifference | None:
    """Compares predictions by row and output: numbers with a relative tolerance of 1e-5, texts exactly.

    The Model's predictions may come from another machine, whose last bits differ. Outputs that `expected` does not name
    are ignored.

    Returns:
        The first difference, or None.
    """
    if len(received) != len(expected):
        return GoldenDifference("predictions", f"{len(expected)} rows", f"{len(received)} rows")
    largest: dict[str, float] = {}
    for row in expected:
        for output, value in row.items():
            largest[output] = max([largest.get(output, 0.0), *(abs(number) for number in _numbers(value))])
    for index, (theirs, ours) in enumerate(zip(received, expected, strict=True)):
        for output, value in ours.items():
            answer = theirs.get(output) if isinstance(theirs, dict) else None
            if not _close(answer, value, _OF_LARGEST * largest[output]):
                return GoldenDifference(f"predictions[{index}].{output}", _short(value), _short(answer))
    return None


def _close(received: Any, expected: Any, absolute: float) -> bool:
    if isinstance(expected, list):
        if not isinstance(received, list) or len(received) != len(expected):
            return False
        return all(_close(r, e, absolute) for r, e in zip(received, expected, strict=True))
    if _numbers(expected) and _numbers(received):
        return math.isclose(received, expected, rel_tol=_RELATIVE, abs_tol=absolute)
    return type(received) is type(expected) and bool(received == expected)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for inner in value for number in _numbers(inner)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
