"""Trial results of a search, local or on Vertex AI."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.components.train.config import TrainResult
from headrace.core import storage
from headrace.core.artifacts.kinds import MODEL
from headrace.core.artifacts.model import open_model
from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.storage.output import publishing

STATES = ("complete", "pruned", "failed", "unfinished")


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial.

    Attributes:
        number: from 0; from 1 on Vertex AI.
        state: complete, pruned, failed or unfinished.
        parameters: by name.
        eval_loss: the minimum of its epochs; None before the first.
        epochs: number of judged epochs.
        seconds: wall time of the last attempt.
        error: of a failed trial, as `HeadraceError.to_json`.
    """

    number: int
    state: str
    parameters: Mapping[str, Any]
    eval_loss: float | None
    epochs: int
    seconds: float | None
    error: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON values."""
        return {**vars(self), "parameters": dict(self.parameters)}


def tried_in(tried: Sequence[TrialResult], state: str) -> int:
    """Number of trials in a state."""
    return sum(1 for trial in tried if trial.state == state)


def counted_states(tried: Sequence[TrialResult]) -> str:
    """Formats the number of trials in each state that occurs, for a message."""
    return ", ".join(f"{tried_in(tried, state)} {state}" for state in STATES if tried_in(tried, state))


def best_of(tried: Sequence[TrialResult]) -> TrialResult | None:
    """The complete trial with the minimum eval loss, the first of ties; None before any is complete."""
    complete = [trial for trial in tried if trial.state == "complete" and trial.eval_loss is not None]
    return min(complete, key=lambda trial: (trial.eval_loss, trial.number), default=None)


def common_error(tried: Sequence[TrialResult]) -> HeadraceError | None:
    """The error if every trial failed: the first error of the user, or else the first; None otherwise."""
    errors = [HeadraceError.from_json(dict(trial.error)) for trial in tried if trial.error is not None]
    if not errors or len(errors) < len(tried):
        return None
    return next((error for error in errors if not isinstance(error, PlatformError)), errors[0])


def publish(model: str, output: str, search: str, best: TrialResult, tried: Sequence[TrialResult]) -> TrainResult:
    """Publishes the Model of the best trial; its training.json then describes the search.

    Args:
        model: URI of that trial's Model.
        output: where it is published, atomically.
        search: the search's identity.
        best: the trial.
        tried: all trials, by number.

    Returns:
        Short form of the published training.json.
    """
    summary = {
        "search": search,
        "trial": best.number,
        "parameters": dict(best.parameters),
        "trials": [trial.to_json() for trial in tried],
    }
    with storage.at_hand(model) as source, publishing(output, MODEL) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        record = {**open_model(str(folder)).training, "tuning": summary}
        storage.write_json(str(folder / "training.json"), record)
    return TrainResult.of(record)


def result_of(best: TrialResult, tried: Sequence[TrialResult], training: TrainResult) -> dict[str, Any]:
    """The result of a search in a run's summary: the best trial's training, as of `train`, and the trials."""
    return {
        **training.to_json(),
        "trial": best.number,
        "best": dict(best.parameters),
        "trials": {state: tried_in(tried, state) for state in STATES},
    }
