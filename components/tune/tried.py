"""A trial of a search, and what came of it: whoever ran it."""

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
class Tried:
    """A trial, and what came of it.

    Attributes:
        number: from 0; from 1 where Vertex AI counts them.
        state: complete, pruned, failed or unfinished.
        parameters: by name.
        eval_loss: the best of its epochs; None before the first.
        epochs: how many were judged.
        seconds: of wall time, in the last attempt.
        error: what a failed one failed with, as `HeadraceError.to_json`.
    """

    number: int
    state: str
    parameters: Mapping[str, Any]
    eval_loss: float | None
    epochs: int
    seconds: float | None
    error: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "parameters": dict(self.parameters)}


def tried_in(tried: Sequence[Tried], state: str) -> int:
    """How many trials are in a state."""
    return sum(1 for trial in tried if trial.state == state)


def counted_states(tried: Sequence[Tried]) -> str:
    """How many trials are in each state that one is in, for a message."""
    return ", ".join(f"{tried_in(tried, state)} {state}" for state in STATES if tried_in(tried, state))


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """The complete trial of least eval loss, the first of equals; None before any is complete."""
    complete = [trial for trial in tried if trial.state == "complete" and trial.eval_loss is not None]
    return min(complete, key=lambda trial: (trial.eval_loss, trial.number), default=None)


def common_error(tried: Sequence[Tried]) -> HeadraceError | None:
    """What every trial failed with: the first error that is the user's, or else the first; None unless all failed."""
    errors = [HeadraceError.from_json(dict(trial.error)) for trial in tried if trial.error is not None]
    if not errors or len(errors) < len(tried):
        return None
    return next((error for error in errors if not isinstance(error, PlatformError)), errors[0])


def publish(model: str, output: str, search: str, best: Tried, tried: Sequence[Tried]) -> TrainResult:
    """Publishes the Model of the best trial, whose training.json then tells of the search.

    Args:
        model: where that trial left its Model.
        output: where it goes; it appears whole or not at all.
        search: the search's identity.
        best: the trial.
        tried: all trials, by number.

    Returns:
        What the published training.json says in short.
    """
    said = {
        "search": search,
        "trial": best.number,
        "parameters": dict(best.parameters),
        "trials": [trial.to_json() for trial in tried],
    }
    with storage.at_hand(model) as source, publishing(output, MODEL) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        record = {**open_model(str(folder)).training, "tuning": said}
        storage.write_json(str(folder / "training.json"), record)
    return TrainResult.of(record)


def result_of(best: Tried, tried: Sequence[Tried], training: TrainResult) -> dict[str, Any]:
    """What a run's summary says of a search: of the best trial's training as `train` does, and of the trials."""
    return {
        **training.to_json(),
        "trial": best.number,
        "best": dict(best.parameters),
        "trials": {state: tried_in(tried, state) for state in STATES},
    }
