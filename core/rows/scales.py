"""Scales of numeric columns: finds columns whose numbers do not fit float32, and the power of two that makes them fit.

Examples and models hold float32: its numbers have magnitudes of 1.2e-38 to 3.4e38. A first pass over the rows counts
the sizes of numbers outside it. A column is divided by 2 ** exponent, so that its largest number is below 1, where

- all its numbers are so small that float32 would lose digits, or
- more than half of its numbers are too large. One is enough where a declared bound is itself beyond float32. Otherwise
  a few huge numbers, such as 1.8e308 for a missing value, stay what they are: out of range.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from headrace.core.problem import Numeric, Problem
from headrace.core.rules.fault import Mask
from headrace.core.values.scaling import FLOAT32_MAXIMUM

# Below this, numbers 2 ** 24 times smaller, which still count in float32, have fewer digits or are flushed to 0.
_SMALL = 2.0**-100
_PEEKED = 64
_COUNT = re.compile(r"(small|huge) exponent (-?[0-9]+) of (.*)\Z", re.DOTALL)


def sizes_seen(declared: Numeric, values: npt.NDArray[np.float64], present: Mask, *, has_huge: bool) -> Counter[str]:
    """Counts for `measured_exponents` of a batch.

    Args:
        declared: the column's declaration, without an exponent.
        values: [rows], any number where `present` is false.
        present: mask of finite numbers.
        has_huge: whether values may be beyond float32.

    Returns:
        "numbers NAME": numbers in the batch; where they are all small, or some are beyond float32, their number by size
        too: "small exponent E of NAME", with the exponent of the largest number, and "huge exponent E of NAME".
    """
    name = declared.name
    seen: Counter[str] = Counter({f"numbers {name}": int(np.count_nonzero(present))})
    if has_huge:
        low = -np.inf if declared.minimum is None else declared.minimum
        high = np.inf if declared.maximum is None else declared.maximum
        huge = values[present & (np.abs(values) > FLOAT32_MAXIMUM) & (values >= low) & (values <= high)]
        exponents, counts = np.unique(np.frexp(huge[np.isfinite(huge)])[1], return_counts=True)
        for exponent, count in zip(exponents.tolist(), counts.tolist(), strict=True):
            seen[f"huge exponent {exponent} of {name}"] = count
    elif not (np.abs(values[:_PEEKED]) >= _SMALL).any():
        largest = float(np.abs(values[present]).max(initial=0.0))
        if largest < _SMALL:
            exponent = int(np.frexp(largest)[1]) if largest else 0
            seen[f"small exponent {exponent} of {name}"] = seen[f"numbers {name}"]
    return seen


def measured_exponents(problem: Problem, seen: Mapping[str, int]) -> dict[str, int]:
    """The exponents of the columns whose numbers do not fit float32, by name.

    Args:
        problem: declares the columns.
        seen: the sum of `sizes_seen` over all batches.
    """
    sizes: dict[str, dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for key, count in seen.items():
        if match := _COUNT.match(key):
            sizes[match[3]][match[1]][int(match[2])] = count
    found: dict[str, int] = {}
    for column in (*problem.columns, *problem.targets):
        if not isinstance(column, Numeric) or column.name not in sizes:
            continue
        numbers, small, huge = seen[f"numbers {column.name}"], sizes[column.name]["small"], sizes[column.name]["huge"]
        bounds = (bound for bound in (column.minimum, column.maximum) if bound is not None)
        meant = any(abs(bound) > FLOAT32_MAXIMUM for bound in bounds)
        if huge and (meant or sum(huge.values()) > numbers / 2):
            found[column.name] = max(huge)
        # The exponent of 0 is 0; those of small numbers are far below.
        elif sum(small.values()) == numbers and min(small, default=0) < 0:
            found[column.name] = max(exponent for exponent in small if exponent < 0)
    return found


def tiny_columns(problem: Problem, seen: Mapping[str, int]) -> list[str]:
    """The columns without an exponent whose numbers are all so small that float32 loses digits; as above."""
    return [name for name, exponent in measured_exponents(problem, seen).items() if exponent < 0]
