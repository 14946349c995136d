"""Options of a search on Vertex AI."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.pipelines.platforms.options import check

_ALGORITHMS = {"bayesian": "ALGORITHM_UNSPECIFIED", "grid": "GRID_SEARCH", "random": "RANDOM_SEARCH"}
_STOPPING = {"median": "median_automated_stopping_spec", "decay_curve": "decay_curve_stopping_spec", "none": ""}


@dataclass(frozen=True)
class TuningOptions:
    """Options of a hyperparameter tuning job, whose trials run on the machines of [vertex.training].

    Attributes:
        algorithm: bayesian, grid or random.
        stopping: rule of early stopping: median, decay_curve or none. Trials are compared at equal run times: the
            launcher of google-cloud-pipeline-components removes the alternative, equal epochs, from its request.
        max_failed_trials: maximum failed trials before the search fails; 0 leaves it to the service.
        retries: maximum retries of a search that failed, or that the service rejected: each as a new job, from its
            first trial on.
    """

    algorithm: str = "bayesian"
    stopping: str = "median"
    max_failed_trials: int = 0
    retries: int = 1

    def __post_init__(self) -> None:
        for name, known in (("algorithm", _ALGORITHMS), ("stopping", _STOPPING)):
            value = getattr(self, name)
            check(value in known, f"{name} is not valid", expected=" or ".join(known), received=value)
        check(
            self.max_failed_trials >= 0,
            "max_failed_trials is not valid",
            expected="0 or more",
            received=self.max_failed_trials,
        )
        check(0 <= self.retries <= 10, "retries is not valid", expected="0 to 10", received=self.retries)

    @property
    def service_algorithm(self) -> str:
        """The service's name of the algorithm."""
        return _ALGORITHMS[self.algorithm]

    @property
    def service_stopping(self) -> str:
        """The field of the study that sets early stopping, or ""."""
        return _STOPPING[self.stopping]
