"""Lenient access to JSON values: a report is written after failures too, so missing or invalid values are omitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core.checks import is_finite


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, and an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """`value` if it is a JSON array, and an empty one otherwise."""
    return value if isinstance(value, list) else []


def objects(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in a JSON array."""
    return [item for item in items(value) if isinstance(item, dict)]


def number(value: object) -> float | None:
    """`value` if it is a finite number."""
    return float(value) if is_finite(value) else None  # type: ignore[arg-type]


def numbers(value: object) -> list[float | None]:
    """The elements of a JSON array, with None for those that are not finite numbers."""
    return [number(item) for item in items(value)]


def pairs(first: object, second: object) -> list[tuple[float, float]]:
    """Pairs of two JSON arrays' elements, without those where either is not a finite number."""
    both = zip(numbers(first), numbers(second), strict=False)
    return [(a, b) for a, b in both if a is not None and b is not None]


def text(value: object) -> str | None:
    """`value` as text; None stays None, and so does an empty text."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else str(value)
