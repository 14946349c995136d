"""Gate, costs and drift bounds: the conditions that a model, and new data, must satisfy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.core.checks import check_bool, check_count, check_fraction, check_list, is_finite
from headrace.core.errors import ProblemError

Task = Literal["regression", "binary", "multiclass"]

# The metrics that `evaluate` computes for each task, and whether higher is better.
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

# The default metric of a gate. A threshold other than 0.5 does not maximize accuracy.
_DEFAULT_METRICS: Mapping[Task, str] = {
    "regression": "root_mean_squared_error",
    "binary": "accuracy",
    "multiclass": "accuracy",
}
_AT_A_THRESHOLD = "auc"
# Metrics in which a model cannot beat a constant: its bias is close to 0, and its precision is undefined where it never
# predicts the positive class.
NOT_COMPARED = frozenset({"mean_bias", "precision"})


@dataclass(frozen=True)
class Costs:
    """Costs of the two errors of a binary model, both in the same unit; evaluation sums them per threshold.

    Args:
        false_positive: cost of predicting the second class for a row of the first class; 0 or more.
        false_negative: cost of predicting the first class for a row of the second class; 0 or more.

    Raises:
        ProblemError: a cost is negative or not finite, or both are 0.
    """

    false_positive: float = 1.0
    false_negative: float = 1.0

    def __post_init__(self) -> None:
        for name in ("false_positive", "false_negative"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise ProblemError(f"{name} is wrong", where="Costs", expected="0 or more", received=repr(value))
        if not self.false_positive and not self.false_negative:
            raise ProblemError("both costs are 0", where="Costs", expected="one above 0", received="0 and 0")


@dataclass(frozen=True)
class Drift:
    """Maximum distances of columns from an earlier statistics.json, above which preprocessing is refused.

    They are checked if `headrace preprocess --baseline` names that file; `preprocess.drift` computes the distances.

    Args:
        jensen_shannon: maximum Jensen-Shannon divergence, in [0, 1], of every column.
        l_infinity: maximum change of any value's fraction, in [0, 1], of every categorical column.
        columns: thresholds of single columns, which replace these; `Drift()` checks nothing for a column.

    Raises:
        ProblemError: a threshold is outside [0, 1], or columns are not Drifts by name.
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
    """The conditions on the test split for a model to be blessed.

    A gate without bounds, `Gate()`, the default of a Problem, compares with the baseline: a model must be better than a
    constant, which is the mean of the train labels or their most frequent class. The confidence interval of the
    improvement, by a paired bootstrap of the test rows, must lie above 0.

    Args:
        metric: one of METRICS for the problem's task; "" for root_mean_squared_error of a number, and accuracy of
            classes (auc if the Problem declares a threshold).
        at_most: maximum value. For a metric where higher is better, use at_least.
        at_least: minimum value.
        beats_baseline: whether a model must be better than the baseline; by default, if neither at_most nor at_least
            is set.
        slices: features; the bounds, but not the baseline, also apply to each of their values.
        minimum_slice_size: slices with fewer test rows are reported, but not checked.
        champion_tolerance: how much worse than the champion a model may be, as a fraction of the champion's value;
            checked only with a champion.

    Raises:
        ProblemError: a bound is not finite, bounds exclude each other, a bound has no metric, slices have no bound, or
            no model can beat a baseline in the metric.
    """

    metric: str = ""
    _: dataclasses.KW_ONLY
    at_most: float | None = None
    at_least: float | None = None
    beats_baseline: bool | None = None
    slices: Sequence[str] = ()
    minimum_slice_size: int = 20
    champion_tolerance: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            expected = 'the name of a metric, such as "accuracy"'
            raise ProblemError("metric is wrong", where="Gate", expected=expected, received=repr(self.metric))
        where = f'Gate("{self.metric}")' if self.metric else "Gate()"
        for bound in ("at_most", "at_least", "champion_tolerance"):
            value = getattr(self, bound)
            if value is not None and not is_finite(value):
                raise ProblemError(f"{bound} is wrong", where=where, expected="a finite number", received=repr(value))
        bounded = self.at_most is not None or self.at_least is not None
        if not self.metric and bounded:
            raise ProblemError(
                "a bound needs a metric", where=where, expected='Gate("METRIC", at_most=...)', received="no metric"
            )
        if self.beats_baseline is not None:
            check_bool(self.beats_baseline, "beats_baseline", where=where, error=ProblemError)
        if self.beats_baseline is None:
            against_champion = self.champion_tolerance is not None and self.metric in NOT_COMPARED
            object.__setattr__(self, "beats_baseline", not bounded and not against_champion)
        if not (bounded or self.beats_baseline or self.champion_tolerance is not None):
            raise ProblemError(
                "the gate judges nothing",
                where=where,
                expected="at_most, at_least, beats_baseline or champion_tolerance; or gate=None",
                received="none of them",
            )
        if self.beats_baseline and self.metric in NOT_COMPARED:
            raise ProblemError(
                f"{self.metric} cannot be compared with a baseline",
                where=where,
                expected="at_most or at_least, or another metric",
                received="beats_baseline=True" if bounded else "no bound",
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
        slices = check_list(self.slices, "slices", expected="a list of feature names", where=where, error=ProblemError)
        if not all(isinstance(name, str) for name in slices):
            raise ProblemError(
                "slices is wrong", where=where, expected="a list of feature names", received=repr(list(slices))
            )
        object.__setattr__(self, "slices", slices)
        if self.slices and not bounded and self.champion_tolerance is None:
            raise ProblemError(
                "slices need a bound",
                where=where,
                expected="at_most, at_least or champion_tolerance: a slice is not compared with the baseline",
                received=f"slices={list(self.slices)!r}",
            )

    def of(self, task: Task, threshold: float = 0.5) -> Gate:
        """The gate with its default metric, if none is set."""
        if self.metric:
            return self
        by_rank = task == "binary" and threshold != 0.5
        return dataclasses.replace(self, metric=_AT_A_THRESHOLD if by_rank else _DEFAULT_METRICS[task])
