"""Monitor: the thresholds above which monitoring raises an alarm; they change nothing in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.core.checks import check_count, check_fraction, check_positive
from headrace.core.errors import ProblemError


@dataclass(frozen=True)
class Monitor:
    """Thresholds of `headrace monitor`. A value above one is an alarm, if it is also more than chance explains.

    Args:
        drift: maximum Jensen-Shannon divergence of a feature, in [0, 1], from the training data (skew) and from the
            window before (drift), its sampling error taken off.
        prediction_drift: the same of the predictions, from the window before; None for `drift`.
        missing: maximum increase of a column's fraction of missing values over that in the training data, in [0, 1].
        unknown: maximum fraction of a column's values that are new categories, in [0, 1].
        invalid: maximum fraction of a column's values that are outside its bounds, or no numbers, in [0, 1].
        metric_loss: by what fraction of its value at evaluation the metric of the gate may get worse, above 0; None
            does not compare it. The bounds of the gate apply to it in any case.
        data_age_hours: maximum age of the newest row, in hours; None for any.
        model_age_days: maximum age of the model, in days; None for any.
        minimum_rows: windows with fewer rows are reported, and raise no alarm; 1 or more.
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
