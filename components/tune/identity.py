"""Search identity: digests of a search and of the step that runs it."""

from __future__ import annotations

from headrace.components.train.request import TrainingRequest
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import step

# Label by which the job of a search is found if the task that started it failed without output.
LABEL = "headrace-search"


def search_identity(file: ProblemFile, examples_identity: str, request: TrainingRequest) -> str:
    """Identity by which a search resumes: more trials, or more hours, do not change it."""
    return step.identity(
        "tune", problem=file.tuning_digest, train=request.of_trials().identity(file, examples_identity)
    )


def step_identity(search: str, trials: int, request: TrainingRequest) -> str:
    """Identity of the step: the same search with more trials has another result.

    Args:
        search: from `search_identity`.
        trials: number of trials; 0 for the Problem's number.
        request: with the search's budget.
    """
    return step.identity("tune", search=search, trials=trials, max_hours=request.options.budget.hours or 0.0)
