"""Monitor: the thresholds above which monitoring raises an alarm; they change nothing in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.core.checks import check_count, check_fraction, check_positive
from headrace.core.errors import ProblemError


@dataclass(frozen=True)
class Monitor:
    """Thresholds of `headrace monitor`. A value above its threshold raises an alarm if chance does not explain it.

    Args:
        drift: maximum Jensen-Shannon divergence of a feature, in [0, 1], from the training data (skew) and from the
            previous window (drift), minus its sampling error.
        prediction_drift: the same for the predictions, from the previous window; None for the value of `drift`.
        missing: maximum increase of a column's fraction of missing values over that in the training data, in [0, 1].
        unknown: maximum fraction of a column's values that are new categories, in [0, 1].
        invalid: maximum fraction of a column's values that are outside its bounds or not numbers, in [0, 1].
        metric_loss: maximum loss of the gate's metric, as a fraction of its value at evaluation, above 0; None for no
            comparison. The bounds of the gate apply to the metric in any case.
        data_age_hours: maximum age of the newest row, in hours; None for no limit.
        model_age_days: maximum age of the model, in days; None for no limit.
        minimum_rows: windows with fewer rows are reported, but raise no alarm; 1 or more.
        columns: maximum divergence of single columns, which replaces `drift`.

    Raises:
        ProblemError: a threshold is outside its range.
    """

    drift: float = 0.1
    _: dataclasses.KW_ONLY
    prediction_drift: float | None = None
    missing: float = 0.05
    unknown: float = 0.05
    invalid: float = 0.01
    metric_loss: float | None = 0.1
    data_age_hours: float | None = None
    model_age_days: float | None = None
    minimum_rows: int = 100
    columns: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("drift", "missing", "unknown", "invalid"):
            check_fraction(getattr(self, name), name, where="Monitor", error=ProblemError)
        if self.prediction_drift is not None:
            check_fraction(self.prediction_drift, "prediction_drift", where="Monitor", error=ProblemError)
        for name in ("metric_loss", "data_age_hours", "model_age_days"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), name, where="Monitor", error=ProblemError)
        check_count(self.minimum_rows, "minimum_rows", where="Monitor", error=ProblemError)
        if not isinstance(self.columns, Mapping) or not all(isinstance(name, str) for name in self.columns):
            raise ProblemError(
                "columns are wrong", where="Monitor", expected='{"mother_age": 0.2}', received=repr(self.columns)
            )
        for name, most in self.columns.items():
            check_fraction(most, f'the threshold of "{name}"', where="Monitor.columns", error=ProblemError)
        object.__setattr__(self, "columns", dict(self.columns))

    def drift_of(self, column: str) -> float:
        """The maximum divergence of a feature."""
        return self.columns.get(column, self.drift)

    @property
    def drift_of_predictions(self) -> float:
        """The maximum divergence of the predictions."""
        return self.drift if self.prediction_drift is None else self.prediction_drift
