"""Search check before submission: refuses what the platform would reject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.train.request import TrainingRequest
from headrace.components.tune.trial import tuning_of
from headrace.components.tune.vertex import space
from headrace.core.problem.file import load_problem
from headrace.pipelines.lint.spec import Spec
from headrace.pipelines.submission.parameters import declared


def check(spec: Spec, problem: str, values: Mapping[str, Any], platform: str) -> None:
    """Refuses a pipeline with a search if the Problem has no `tuning`, or one that the platform does not support.

    Args:
        spec: a compiled pipeline; one without a search is not checked.
        problem: the Problem file, or "".
        values: the pipeline's parameters.
        platform: "vertex" or "kubeflow".

    Raises:
        ProblemError, UsageError: the search is not valid; the message has the rule.
    """
    searching = {
        task.component_name: task for task in spec.tasks() if task.component_name in ("comp-study", "comp-tune")
    }
    if not searching or not problem:
        return
    request = TrainingRequest.from_json(values.get("training") or {})
    tuning = tuning_of(load_problem(problem), request)
    if platform != "vertex" or "comp-study" not in searching:
        return
    space.check_budget(request)
    definitions = declared(spec.pipeline)
    trials, parallel = (
        int(values.get(name, definitions.get(name, {}).get("defaultValue", default)))
        for name, default in (("trials", 0), ("parallel", 1))
    )
    algorithm = str(searching["comp-study"].inputs().get("algorithm", ""))
    space.check(tuning, trials=trials or tuning.trials, parallel=parallel, algorithm=algorithm)
