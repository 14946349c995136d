"""Splits into train, eval and test rows: by key, by group, by time, or by file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from headrace.core.checks import is_finite
from headrace.core.errors import ProblemError

SplitKind = Literal["key", "group", "time", "files"]
_NAMES = ("train", "eval", "test")


@dataclass(frozen=True)
class Splits:
    """Which rows are in the train, eval and test splits.

    - By key: `Splits(0.8, 0.1, 0.1)`. A fingerprint of the key decides; without a key, one of the row's content.
    - By group: `Splits(by="patient_id")`. All rows with one value of that column are in one split; a fingerprint of the
      value decides, so the fractions are fractions of the values, not of the rows.
    - By time: `Splits(time="pickup")`. The newest rows are the test split, those before them the eval split. The
      boundaries are the times at which the fractions of the rows are reached, or `eval_from` and `test_from`. Rows
      with one time are in one split.
    - By file: `Splits(files={"train": "train*.csv", "eval": "eval.csv", "test": "test/*.csv"})`. Without a pattern for
      "eval", the fraction `eval` of the rows of the train files is the eval split, by a fingerprint of their key.

    Args:
        train, eval, test: fractions, which sum to 1.
        by: the column whose values are groups; a feature's name, or any column of the table.
        time: the column of times or numbers that orders the rows; a feature's name, or any column of the table.
        eval_from: the time of the first row of the eval split, as text, or a number.
        test_from: the time of the first row of the test split.
        files: patterns by split, each for the end of a file's path; * matches any part of a name.

    Raises:
        ProblemError: a fraction is outside (0, 1), fractions do not sum to 1, or options exclude each other.
    """

    train: float = 0.8
    eval: float = 0.1
    test: float = 0.1
    _: KW_ONLY
    by: str | None = None
    time: str | None = None
    eval_from: str | float | None = None
    test_from: str | float | None = None
    files: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        self._check_columns()
        self._check_times()
        self._check_files()
        fractions = {name: getattr(self, name) for name in _NAMES}
        for name, fraction in fractions.items():
            if not is_finite(fraction) or not 0 < fraction < 1:
                raise ProblemError(
                    f"{name} is wrong", where="Splits", expected="a fraction between 0 and 1", received=repr(fraction)
                )
        total = math.fsum(fractions.values())
        # For splits by file, only `eval` counts: the fraction of the train files' rows that is the eval split.
        if self.files is None and abs(total - 1) > 1e-9:
            raise ProblemError(
                "the fractions do not sum to 1",
                where="Splits",
                expected="train + eval + test = 1",
                received=f"{' + '.join(str(fraction) for fraction in fractions.values())} = {total:g}",
            )

    def _check_columns(self) -> None:
        for name in ("by", "time"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ProblemError(f"{name} is wrong", where="Splits", expected="a column's name", received=repr(value))
        given = [name for name in ("by", "time", "files") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ProblemError(
                "the splits are of several kinds",
                where="Splits",
                expected="one of by, time and files",
                received=" and ".join(given),
            )

    def _check_times(self) -> None:
        given = [name for name in ("eval_from", "test_from") if getattr(self, name) is not None]
        if given and (self.time is None or len(given) == 1):
            raise ProblemError(
                "the boundaries in time are incomplete",
                where="Splits",
                expected='time="COLUMN", eval_from and test_from',
                received=f"{' and '.join(given)}{'' if self.time else ' without time'}",
            )
        for name in given:
            value = getattr(self, name)
            if not is_finite(value) and not isinstance(value, str):
                raise ProblemError(
                    f"{name} is wrong",
                    where="Splits",
                    expected='a time such as "2026-05-01" or "2026-05-01 12:30", or a number',
                    received=repr(value),
                )
        if given and isinstance(self.eval_from, str) != isinstance(self.test_from, str):
            raise ProblemError(
                "the boundaries are a number and a time",
                where="Splits",
                expected="eval_from and test_from of one kind",
                received=f"{self.eval_from!r} and {self.test_from!r}",
            )
        if not given:
            return
        first, last = (_order(getattr(self, name), name) for name in given)
        if not first < last:
            raise ProblemError(
                "eval_from must be before test_from",
                where="Splits",
                expected=f"a time before {self.test_from}",
                received=str(self.eval_from),
            )

    def _check_files(self) -> None:
        if self.files is None:
            return
        right = isinstance(self.files, Mapping) and {"train", "test"} <= self.files.keys() <= set(_NAMES)
        right = right and all(isinstance(pattern, str) and pattern.strip("/") for pattern in self.files.values())
        if not right:
            raise ProblemError(
                "files is wrong",
                where="Splits",
                expected='patterns by split: {"train": "train*.csv", "eval": "eval.csv", "test": "test.csv"}',
                received=repr(self.files),
            )
        object.__setattr__(self, "files", {name: self.files[name] for name in _NAMES if name in self.files})

    @property
    def kind(self) -> SplitKind:
        """The kind of rule that decides a row's split."""
        if self.by is not None:
            return "group"
        if self.time is not None:
            return "time"
        return "key" if self.files is None else "files"

    @property
    def column(self) -> str | None:
        """The column that decides a row's split, if not the key."""
        return self.by if self.time is None else self.time

    @property
    def is_measured(self) -> bool:
        """Whether the boundaries depend on all rows: in splits by time with fractions."""
        return self.time is not None and self.eval_from is None

    @property
    def boundaries(self) -> dict[str, str | float]:
        """`eval_from` and `test_from`, if declared or measured."""
        if self.eval_from is None or self.test_from is None:
            return {}
        return {"eval_from": self.eval_from, "test_from": self.test_from}

    @property
    def described(self) -> str:
        """The rule as text for people."""
        name = {"key": "the key", "files": "Splits(files=...)", "group": f"the groups of {self.by}"}
        return name.get(self.kind, f"the time {self.time}")

    def to_json(self) -> dict[str, Any]:
        """The set fields as JSON values."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
        }

    def check_column(self, label: str) -> None:
        """Checks the column that decides the split.

        Args:
            label: the label's name.

        Raises:
            ProblemError: it is the label.
        """
        if self.column == label:
            raise ProblemError(
                "the splits cannot be defined by this column",
                where="Splits",
                expected="a column of the table, or a derived one, other than the label",
                received=f'"{self.column}", which is the label',
            )


def _order(bound: str | float, name: str) -> float:
    """Sort key of a boundary: the number, or a time's microseconds since 1970.

    Raises:
        ProblemError: a text is not a valid time.
    """
    if not isinstance(bound, str):
        return bound
    import numpy as np

    from headrace.core.expressions.evaluate import ExpressionValues
    from headrace.core.expressions.functions import timestamp
    from headrace.core.expressions.lower_numpy import NumpyEvaluator
    from headrace.core.expressions.nodes import ColumnReference

    column = ExpressionValues(np.array([bound], object), np.zeros(1, np.bool_))
    found = NumpyEvaluator({"time": column}, 1)(timestamp(ColumnReference("time", "text")))
    if found.missing[0]:
        raise ProblemError(
            f"{name} is not a time",
            where="Splits",
            expected='a time such as "2026-05-01" or "2026-05-01 12:30+02:00"',
            received=repr(bound),
        )
    return int(found.values[0])
