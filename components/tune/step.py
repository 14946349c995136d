"""Search step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.train.request import TrainingRequest
from headrace.components.tune.identity import search_identity, step_identity
from headrace.components.tune.tried import result_of
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.steps import identity, workspace
from headrace.core.steps.step import running


def run(
    problem: str,
    tuning_digest: str,
    root: str,
    examples: Any,
    model: Any,
    trials: int,
    parallel: int,
    training: Mapping[str, Any],
) -> None:
    """Runs the step; arguments as of `component.tune`."""
    with running("tune", root=root) as step:
        file = load_problem(problem, digest=tuning_digest, part="tuning")
        request = TrainingRequest.from_json(training)
        with step.importing():
            from headrace.components.tune import search
        name = search_identity(file, identity.examples_identity_of(examples.path), request)
        step.identity = step_identity(name, trials, request)
        output = storage.place_of(model)
        step.end_as_before(output)
        config = search.TuneConfig(
            examples=examples.path,
            output=output,
            folder=workspace.searches_uri(workspace.root_of(root, output)),
            trials=trials or None,
            parallel=parallel,
            request=request,
        )
        result = search.tune(file, config, step.progress)
        best = result.training
        model.framework = "tensorflow"
        model.metadata.update(model_version=best.model_version, parameters=best.parameters)
        step.finish(
            outputs={"model": model.path},
            result=result_of(result.best, result.trials, best),
        )
