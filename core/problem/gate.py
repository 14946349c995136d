"""Gate and drift bounds: what a model, and new data, must do to pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.core.checks import check_count, check_fraction, is_finite
from headrace.core.errors import ProblemError

Task = Literal["regression", "binary", "multiclass"]

# The metrics that `evaluate` computes for each task, and whether more of it is better.
METRICS: Mapping[Task, Mapping[str, bool]] = {
    "regression": {
        "root_mean_squared_error": False,
        "mean_squared_error": False,
        "mean_absolute_error": False,
        "mean_bias": False,
        "r_squared": True,
    },
    "binary": {
        "accuracy": True,
        "auc": True,
        "auc_pr": True,
        "log_loss": False,
        "brier_score": False,
        "precision": True,
        "recall": True,
        "f1_score": True,
    },
    "multiclass": {
        "accuracy": True,
        "log_loss": False,
        "macro_precision": True,
        "macro_recall": True,
        "macro_f1_score": True,
    },
}


@dataclass(frozen=True)
class Drift:
    """How far columns may have moved from an earlier statistics.json before preprocessing is refused.

    It is judged where `headrace preprocess --baseline` gives that file; the distances are those of `preprocess.drift`.

    Args:
        jensen_shannon: the greatest Jensen-Shannon divergence allowed, in [0, 1], of every column.
        l_infinity: the greatest change of any value's share allowed, in [0, 1], of every categorical column.
        columns: thresholds of single columns, which take the place of these; `Drift()` there judges nothing.

    Raises:
        ProblemError: a threshold outside [0, 1], or columns that are not Drifts by name.
    """

    jensen_shannon: float | None = None
    l_infinity: float | None = None
    columns: Mapping[str, Drift] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.jensen_shannon is not None:
            check_fraction(self.jensen_shannon, "jensen_shannon", where="Drift", error=ProblemError)
        if self.l_infinity is not None:
            check_fraction(self.l_infinity, "l_infinity", where="Drift", error=ProblemError)
        right = isinstance(self.columns, Mapping) and all(
            isinstance(name, str) and isinstance(own, Drift) and not own.columns for name, own in self.columns.items()
        )
        if not right:
            raise ProblemError(
                "columns are wrong",
                where="Drift",
                expected='{"mother_age": Drift(jensen_shannon=0.2)}',
                received=repr(self.columns),
            )
        object.__setattr__(self, "columns", dict(self.columns))

    def of(self, column: str) -> Drift:
        """The thresholds of one column."""
        return self.columns.get(column, self)


@dataclass(frozen=True)
class Gate:
    """What a model must do on the test split to be blessed.

    Args:
        metric: one of METRICS for the problem's task.
        at_most: the greatest value allowed. For a metric of which more is better, use at_least.
        at_least: the least value allowed.
        slices: features; the bounds hold for each of their values too.
        minimum_slice_size: slices of fewer test rows are reported, and not judged.
        champion_tolerance: how much worse than the champion, as a share of the champion's value, still passes;
            it is judged only where a champion is given.

    Raises:
        ProblemError: no bound at all, a bound that is not finite, or bounds that exclude each other.
    """

    metric: str
    _: dataclasses.KW_ONLY
    at_most: float | None = None
    at_least: float | None = None
    slices: Sequence[str] = ()
    minimum_slice_size: int = 20
    champion_tolerance: float | None = None

    def __post_init__(self) -> None:
        where = f'Gate("{self.metric}")'
        for bound in ("at_most", "at_least", "champion_tolerance"):
            value = getattr(self, bound)
            if value is not None and not is_finite(value):
                raise ProblemError(f"{bound} is wrong", where=where, expected="a finite number", received=repr(value))
        if self.at_most is None and self.at_least is None and self.champion_tolerance is None:
            raise ProblemError(
                "the gate judges nothing",
                where=where,
                expected="at_most, at_least or champion_tolerance",
                received="none of them",
            )
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ProblemError(
                "no value can pass",
                where=where,
                expected="at_least <= at_most",
                received=f"at_least={self.at_least}, at_most={self.at_most}",
            )
        if self.champion_tolerance is not None and self.champion_tolerance < 0:
            raise ProblemError(
                "champion_tolerance is wrong", where=where, expected="0 or more", received=repr(self.champion_tolerance)
            )
        check_count(self.minimum_slice_size, "minimum_slice_size", where=where, error=ProblemError)
        if isinstance(self.slices, str):
            raise ProblemError(
                "slices are wrong", where=where, expected="a list of feature names", received=repr(self.slices)
            )
        object.__setattr__(self, "slices", tuple(self.slices))
