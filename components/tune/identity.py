"""What a search, and what came of it, are known by."""

from __future__ import annotations

from headrace.components.train.request import Request
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import step

# By it the job of a search is found, where the task that started it failed and said nothing.
LABEL = "headrace-search"


def search_identity(file: ProblemFile, examples_identity: str, request: Request) -> str:
    """What a search resumes by: more trials, or more hours, are the same search."""
    return step.identity(
        "tune", problem=file.tuning_digest, train=request.of_trials().identity(file, examples_identity)
    )


def step_identity(search: str, trials: int, request: Request) -> str:
    """What a pipeline's step is known by: more trials of the same search are another result.

    Args:
        search: what `search_identity` gave.
        trials: how many were requested; 0 for what the Problem says.
        request: whose budget is the search's.
    """
    return step.identity("tune", search=search, trials=trials, max_hours=request.options.budget.hours or 0.0)
