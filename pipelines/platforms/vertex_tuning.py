"""What the user says of a search on Vertex AI."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.pipelines.platforms.options import check

_ALGORITHMS = {"bayesian": "ALGORITHM_UNSPECIFIED", "grid": "GRID_SEARCH", "random": "RANDOM_SEARCH"}
_STOPPING = {"median": "median_automated_stopping_spec", "decay_curve": "decay_curve_stopping_spec", "none": ""}


@dataclass(frozen=True)
class TuningOptions:
    """A search as a hyperparameter tuning job, whose trials run on the machines of [vertex.training].

    Attributes:
        algorithm: bayesian, grid or random.
        stopping: by what a trial is ended early: median, decay_curve or none. Trials are compared by the time that
            they have run: the launcher of google-cloud-pipeline-components takes the other way, by epochs, out of its
            request.
        max_failed_trials: after which the whole search fails; 0 leaves it to the service.
        retries: how often a search that failed, or that the service did not take, is given again: as another job, from
            its first trial on.
    """

    algorithm: str = "bayesian"
    stopping: str = "median"
    max_failed_trials: int = 0
    retries: int = 1

    def __post_init__(self) -> None:
        for name, known in (("algorithm", _ALGORITHMS), ("stopping", _STOPPING)):
            value = getattr(self, name)
            check(value in known, f"{name} is wrong", expected=" or ".join(known), received=value)
        check(
            self.max_failed_trials >= 0,
            "max_failed_trials is wrong",
            expected="0 or more",
            received=self.max_failed_trials,
        )
        check(0 <= self.retries <= 10, "retries is wrong", expected="0 to 10", received=self.retries)

    @property
    def service_algorithm(self) -> str:
        """The algorithm as the service names it."""
        return _ALGORITHMS[self.algorithm]

    @property
    def service_stopping(self) -> str:
        """The field of the study that asks for early stopping, or ""."""
        return _STOPPING[self.stopping]
