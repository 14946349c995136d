"""Time features of a drafted Problem file: features derived from a time, for a table that has no other feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.components.preprocess.draft.infer import InferredColumn, quoted
from headrace.components.preprocess.draft.names import feature_names
from headrace.core.expressions import calendar
from headrace.core.problem.features import COLUMN_NAME, RESERVED_NAMES
from headrace.core.rows.split_rule import moments

# The days of a year, on average.
_YEAR = 365.25


# Why no feature is derived from a time.
UNREADABLE_NOTE = "a time, but no expression reads a column of this name: rename it, with letters, digits and _"


def is_readable(column: str) -> bool:
    """Whether an expression can read a column of the table by its name."""
    return bool(COLUMN_NAME.match(column)) and column not in RESERVED_NAMES


@dataclass(frozen=True)
class TimeFeatures:
    """Features that are derived from a time.

    Attributes:
        column: the column of the time.
        untimed: number of rows without a time.
        features: declarations, as Python.
        derive: expressions by the name of the feature, as Python.
        functions: names that the expressions import.
    """

    column: str
    untimed: int
    features: tuple[str, ...]
    derive: Mapping[str, str]
    functions: tuple[str, ...]

    @classmethod
    def of(cls, times: Sequence[InferredColumn], table: pa.Table) -> TimeFeatures | None:
        """Features of the first of some times that an expression can read: the parts of the time that vary.

        The season is a sine and a cosine, so that the months after the newest row that is learned from are near those
        that were seen, and the end of a year is near its beginning.

        Args:
            times: columns of times.
            table: the rows that were read.

        Returns:
            None if no such column has a part that varies.
        """
        for column in times:
            if not is_readable(column.name):
                continue
            found, timed = moments(pa.concat_arrays(table.column(column.name).chunks))
            wanted = _parts(found[timed])
            if not wanted:
                continue
            names = feature_names((f"{column.name}_{part}" for part in wanted), taken=table.column_names)
            time = quoted(column.name)
            made = {names[f"{column.name}_{part}"]: _EXPRESSIONS[part] for part in wanted}
            return cls(
                column=column.name,
                untimed=int(np.count_nonzero(~timed)),
                features=tuple(f"{kind}({quoted(name)})" for name, (kind, _, _) in made.items()),
                derive={name: expression.format(time) for name, (_, expression, _) in made.items()},
                functions=tuple(sorted({function for _, _, functions in made.values() for function in functions})),
            )
        return None


_TURN = f"{2 * math.pi:.6f} / {_YEAR}"
# By part: the declaration, the expression, and the functions that it calls.
_EXPRESSIONS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "season_sin": ("Numeric", f"sin({_TURN} * day_of_year({{}}))", ("sin", "day_of_year")),
    "season_cos": ("Numeric", f"cos({_TURN} * day_of_year({{}}))", ("cos", "day_of_year")),
    **{part: ("Categorical", f"{part}({{}})", (part,)) for part in ("weekday", "hour")},
    **{part: ("Numeric", f"{part}({{}})", (part,)) for part in ("year", "minute", "second")},
}


def _parts(times: npt.NDArray[np.int64]) -> list[str]:
    """The parts of `_EXPRESSIONS` that vary in times, which are microseconds since 1970."""
    vary = {part for part in ("year", "month", "day", "hour", "minute", "second") if _varies(part, times)}
    # The weekdays of the first days of months and years mean nothing.
    parts = {"year": ["year"], "month": ["season_sin", "season_cos"], "day": ["weekday"], "hour": ["hour"]}
    coarse = [name for part, names in parts.items() if part in vary for name in names]
    return coarse or [part for part in ("minute", "second") if part in vary]


def _varies(part: str, times: npt.NDArray[np.int64]) -> bool:
    return bool(np.ptp(calendar.part_of(part, times)) > 0)
