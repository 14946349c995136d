"""Two tables of rows, of which some columns have drifted: the same on every machine, and without any library.

Evidently measures them in an environment of its own, which has nothing of this package.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CATEGORIES = ("carrier", "weekday", "gate", "same")
# Of few values, each of which is a cell of its own to both.
COUNTS = ("stars",)
NUMBERS = ("age", "delay", "share", "still")
ROWS = {"reference": 20_000, "current": 8_000}
Draw = Callable[[random.Random], Any]


def table(which: str) -> dict[str, list[Any]]:
    """The reference, or the current rows, by column."""
    seeded = random.Random(which)
    return {name: [draw(seeded) for _ in range(ROWS[which])] for name, draw in _draws(which == "current").items()}


def _draws(drifted: bool) -> Mapping[str, Draw]:
    """How a value of each column is drawn."""
    return {
        "carrier": _one_of(["UA", "AA", "DL", "WN"] + ["ZZ"] * drifted, [40, 30, 20, 10] + [12] * drifted),
        "weekday": _one_of(["mo", "tu", "we", "th", "fr", "sa", "su"], [5, 5, 5, 5, 5, 3, 3] if drifted else [5] * 7),
        # One that is gone.
        "gate": _one_of("ABC", [3, 2, 0 if drifted else 1]),
        "same": _one_of("xyz", [5, 3, 2]),
        "stars": _one_of([1, 2, 3, 4, 5], [3, 2, 2, 2, 1] if drifted else [1, 1, 2, 3, 3]),
        "age": lambda seeded: _normal(seeded, 44.0 if drifted else 40.0, 10.0),
        "delay": lambda seeded: round(-math.log(1.0 - seeded.random()) * (30.0 if drifted else 15.0), 2),
        "share": lambda seeded: round(seeded.random() ** (2.0 if drifted else 1.0), 4),
        "still": lambda seeded: _normal(seeded, 7.0, 2.0),
    }


def _one_of(values: Sequence[Any], weights: Sequence[int]) -> Draw:
    return lambda seeded: seeded.choices(values, weights)[0]


def _normal(seeded: random.Random, mean: float, deviation: float) -> float:
    """By twelve uniform numbers, which are the same everywhere."""
    return round(mean + deviation * (sum(seeded.random() for _ in range(12)) - 6.0), 2)
