"""Training facts of a Model artifact; a bare SavedModel has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from headrace.components.score.batch.drift import against_training
from headrace.components.score.config import QUARANTINE_BUDGET
from headrace.core import storage
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import open_model
from headrace.core.errors import DataError

# The output of our Models that predicts the label.
_PREDICTION = "prediction"


@dataclass(frozen=True)
class TrainingFacts:
    """Facts about the model's training.

    Attributes:
        problem: the Problem's name, or None.
        quarantine_budget: the Problem's maximum fraction of quarantined rows.
        no_rows: behavior of a run whose data has no rows: skip or refuse.
        label: the label's statistics in the training data, as in statistics.json; None if unknown.
    """

    problem: str | None = None
    quarantine_budget: float = QUARANTINE_BUDGET
    label: Mapping[str, Any] | None = field(default=None)
    no_rows: str = "skip"

    @classmethod
    def read(cls, model: str) -> Self:
        """The facts of a Model artifact, or of the live one of an Endpoint folder; empty for anything else.

        Raises:
            DataError: its files are damaged.
        """
        if not model:
            return cls()
        endpoint = storage.join(model, "endpoint.json")
        if storage.exists(endpoint):
            model = storage.join(model, "versions", str(storage.read_json(endpoint).get("live")))
        if not is_there("Model", model):
            return cls()
        found = open_model(model)
        problem = found.problem
        try:
            label = None
            if storage.exists(storage.join(model, "statistics.json")):
                (name,) = [column["name"] for column in found.columns() if column["role"] == "label"]
                label = found.statistics()[name]
            budget = float(problem.get("quarantine_budget", QUARANTINE_BUDGET))
            return cls(problem.get("name"), budget, label, str(problem.get("no_rows", "skip")))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "the Model does not say what it was trained on",
                where=model,
                received=f"{type(error).__name__}: {error}",
            ) from error

    def compared(self, distribution: Mapping[str, Any]) -> dict[str, Any] | None:
        """The distance of the predictions from the label; None if unknown.

        Args:
            distribution: of the predictions, as `OutputDistributions.to_json` gives it.
        """
        if self.label is None or _PREDICTION not in distribution:
            return None
        apart = against_training(distribution[_PREDICTION], self.label)
        return None if apart is None else {"output": _PREDICTION, **apart}
