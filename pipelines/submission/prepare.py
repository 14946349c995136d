"""Preparation of a submission: all checks before any request to a platform."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from headrace.core.errors import UsageError
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.platforms.machines import task_limits
from headrace.pipelines.submission import check_search, parameters, run_id
from headrace.pipelines.submission import inputs as known
from headrace.pipelines.submission.place import PlatformLocation
from headrace.pipelines.submission.place import settings as settings_of
from headrace.pipelines.submission.run import Submission


@dataclass(frozen=True)
class CheckedSubmission:
    """A checked submission.

    Attributes:
        run_id: name of the run.
        submission: of the pipeline.
        upload: files to write before, by URI: the Problem file and the modules that it imports.
    """

    run_id: str
    submission: Submission
    upload: Mapping[str, bytes]


def prepare(
    spec: str,
    place: PlatformLocation,
    given: dict[str, Any],
    name: str,
    *,
    data_later: bool = False,
    cache: bool = True,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> CheckedSubmission:
    """Prepares a submission, with all checks before any request to a platform.

    Args:
        spec: a compiled spec.
        place: platform and location.
        given: the fields of `inputs.Inputs`, and `parameter`, a list of NAME=VALUE.
        name: prefix of the run's name, or "".
        data_later: whether each run measures the data, unless a version is given.
        cache: False runs every task. The spec is not changed: the pipeline has a parameter for it.
        values: parameters of the pipeline by name, which take precedence over `parameter`.

    Raises:
        UserError: the Problem file, the data, an option or a limit of a task is not valid.
    """
    settings = settings_of(place)
    read = read_spec(spec)
    if place.platform == "vertex":
        task_limits.check_containers(read.containers())
    definitions = parameters.declared(read.pipeline)
    chosen = {**parameters.parse(given["parameter"], definitions), **values}
    if not cache:
        chosen |= _without_cache(definitions)
    given = {**given, "given": chosen, "data_later": data_later}
    inputs = known.Inputs(**{key: value for key, value in given.items() if key != "parameter"})
    target = known.Target(place.platform, settings.project, settings.location, place.namespace)
    filled = known.fill(inputs, target, definitions)
    check_search.check(read, inputs.problem, filled.values, place.platform)
    # Vertex AI accepts only the pipeline's document.
    platforms = [{"platforms": dict(read.platform)}] if read.platform and place.platform == "kubeflow" else []
    documents = [dict(read.pipeline), *platforms]
    derived = run_id.derive(documents, filled.values, name or filled.name or read.name)
    complete = dict(filled.values)
    for parameter, value in (("run_id", derived), ("started", time.time())):
        if parameter in definitions:
            complete.setdefault(parameter, value)
    parameters.check_complete(complete, definitions, known.OPTIONS)
    submission = Submission(
        documents=documents,
        name=read.name,
        parameters=complete,
        pipeline_root=known.pipeline_root(inputs.root, read.pipeline, place.platform),
        labels=dict(settings.labels),
        service_account=settings.service_account,
    )
    return CheckedSubmission(derived, submission, filled.upload)


def _without_cache(definitions: Mapping[str, Any]) -> dict[str, bool]:
    """The parameter that disables the cache of a run.

    Raises:
        UsageError: the pipeline does not have the parameter.
    """
    if definitions.get("cache", {}).get("parameterType") != "BOOLEAN":
        raise UsageError(
            "the pipeline cannot be run without the cache",
            where="--no-cache",
            expected="a pipeline of headrace, with the parameter `cache`",
            fix="Compile the pipeline with `task.set_caching_options(False)`: a compiled spec is submitted unchanged",
        )
    return {"cache": False}
