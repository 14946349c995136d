"""Steps of a search on Vertex AI: the study before the job, and the best trial's Model after it.

Both are parts of the step `tune`: a failure of either is its failure; its success is recorded by `best` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from headrace.components.train.request import TrainingRequest
from headrace.components.tune import trial
from headrace.components.tune.identity import search_identity, step_identity
from headrace.components.tune.tried import result_of
from headrace.components.tune.vertex import space
from headrace.core import storage
from headrace.core.errors import PlatformError
from headrace.core.problem.file import load_problem
from headrace.core.steps import identity, workspace
from headrace.core.steps.step import running


class VertexStudy(NamedTuple):
    """Inputs of a tuning job.

    Attributes:
        search: identity of the search, a label of the job.
        folder: of the trials' outputs.
        parameters: of the study.
        trials: number of trials.
    """

    search: str
    folder: str
    parameters: list[Any]
    trials: int


def plan(
    problem: str,
    tuning_digest: str,
    root: str,
    examples: Any,
    trials: int,
    parallel: int,
    algorithm: str,
    training: Mapping[str, Any],
) -> VertexStudy:
    """Runs the step; arguments as of `component.study`."""
    with running("tune", root=root) as step:
        file = load_problem(problem, digest=tuning_digest, part="tuning")
        request = TrainingRequest.from_json(training)
        name = search_identity(file, identity.examples_identity_of(examples.path), request)
        step.identity = step_identity(name, trials, request)
        step.end_as_before()
        tuning = trial.tuning_of(file, request)
        space.check_budget(request)
        count = trials or tuning.trials
        space.check(tuning, trials=count, parallel=parallel, algorithm=algorithm)
        # The job starts after this step.
        step.writes = False
    folder = storage.join(workspace.searches_uri(root), name)
    return VertexStudy(name, folder, space.parameter_specs(tuning), count)


def take_best(
    problem: str,
    tuning_digest: str,
    root: str,
    model: Any,
    trials: int,
    search: str,
    gcp_resources: str,
    project: str,
    location: str,
) -> None:
    """Runs the step; arguments as of `component.best`."""
    with running("tune", root=root) as step:
        if not search:
            raise PlatformError(
                "the search whose best trial is chosen does not exist",
                fix="Read the error of the step that failed before",
            )
        step.identity = step_identity(search, trials, TrainingRequest())
        step.end_as_before(storage.place_of(model))
        file = load_problem(problem, digest=tuning_digest, part="tuning")
        with step.importing():
            from headrace.components.tune.vertex import job as vertex_job
        count = trials or trial.tuning_of(file).trials
        job = vertex_job.find(gcp_resources, search, count, project, location)
        result = vertex_job.publish_best(job, file, storage.place_of(model), search, step.progress)
        training = result.training
        model.framework = "tensorflow"
        model.metadata.update(model_version=training.model_version, parameters=training.parameters)
        step.finish(outputs={"model": model.path}, result=result_of(result.best, result.trials, training))
