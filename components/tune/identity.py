"""What a search, and what came of it, are known by."""

from __future__ import annotations

from headrace.components.train.options import Options
from headrace.components.train.request import Request
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import step

# By it the job of a search is found, where the task that started it failed and said nothing.
LABEL = "headrace-search"


def search_identity(file: ProblemFile, examples_identity: str, options: Options) -> str:
    """What a search goes on by: more trials are the same search."""
    trained = Request(options=options).identity(file, examples_identity)
    return step.identity("tune", problem=file.tuning_digest, train=trained)


def step_identity(search: str, trials: int, max_hours: float = 0.0) -> str:
    """What a pipeline's step is known by: more trials of the same search are another result.

    Args:
        search: what `search_identity` gave.
        trials: how many were asked for; 0 for what the Problem says.
        max_hours: hours after which no trial goes on; 0 for no end.
    """
    return step.identity("tune", search=search, trials=trials, max_hours=max_hours)
