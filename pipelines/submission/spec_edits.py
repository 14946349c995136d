"""A compiled pipeline as one submission needs it: what it would take from a cache, or do for nothing, is taken out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headrace.pipelines.submission.run import Submission


def without_cache(submission: Submission) -> Submission:
    """The same, with no task taken from the cache."""
    pipeline = {**submission.documents[0]}
    pipeline["root"] = _uncached(pipeline.get("root", {}))
    pipeline["components"] = {name: _uncached(one) for name, one in pipeline.get("components", {}).items()}
    return dataclasses.replace(submission, documents=[pipeline, *submission.documents[1:]])


def without_stale_results(submission: Submission) -> Submission:
    """The same, so that no cache answers with what came of earlier data, where the run itself measures its version.

    The version is in no key of a cache then, unless a task measures it and hands it on. Where none does, nothing is
    taken from the cache: neither what is made of the data, nor what follows from that.
    """
    components = submission.documents[0].get("components", {}).values()
    made = (one.get("outputDefinitions", {}).get("parameters", {}) for one in components)
    if submission.parameters.get("data_version") != "" or any("data_version" in names for names in made):
        return submission
    return without_cache(submission)


def without_idle_lookup(submission: Submission) -> Submission:
    """The same without the task that finds models by their names in a registry, where no model is named.

    A compiled pipeline has it for every run, since what a run names is known only now; the task would start a container
    to say what its inputs say. Nothing else depends on it: whoever takes its outputs takes its inputs instead.
    """
    pipeline = submission.documents[0]
    components: dict[str, Any] = pipeline.get("components", {})
    name = next((name for name, one in components.items() if _finds_models(one)), None)
    if name is None or any(submission.parameters.get(named) for named in ("champion", "warm_start")):
        return submission
    left = {key: _without_task_of(name, one) for key, one in components.items() if key != name}
    deployment: dict[str, Any] = pipeline["deploymentSpec"]
    label = components[name]["executorLabel"]
    executors = {key: one for key, one in deployment["executors"].items() if key != label}
    changed = {**pipeline, "components": left, "deploymentSpec": {**deployment, "executors": executors}}
    return dataclasses.replace(submission, documents=[changed, *submission.documents[1:]])


def _finds_models(component: Mapping[str, Any]) -> bool:
    """Whether its outputs are what models that were named are, each by the name of its input."""
    given, made = (component.get(f"{side}Definitions", {}).get("parameters", {}) for side in ("input", "output"))
    return set(made) == {"champion", "warm_start", "warm_start_version"} and set(made) < set(given)


def _without_task_of(removed: str, component: Mapping[str, Any]) -> Mapping[str, Any]:
    """A graph without the task of a component; another component as it is."""
    tasks: Mapping[str, Any] = component.get("dag", {}).get("tasks", {})
    lookup = next((name for name, task in tasks.items() if task["componentRef"]["name"] == removed), None)
    if lookup is None:
        return component
    inputs = tasks[lookup]["inputs"]["parameters"]

    def without(task: Mapping[str, Any]) -> Mapping[str, Any]:
        if "dependentTasks" not in task:
            return task
        taken = dict(task["inputs"]["parameters"])
        for name, source in taken.items():
            output = source.get("taskOutputParameter", {})
            if output.get("producerTask") == lookup:
                taken[name] = inputs[output["outputParameterKey"]]
        before = [one for one in task["dependentTasks"] if one != lookup]
        return {**task, "dependentTasks": before, "inputs": {**task["inputs"], "parameters": taken}}

    left = {name: without(task) for name, task in tasks.items() if name != lookup}
    return {**component, "dag": {**component["dag"], "tasks": left}}


def _uncached(component: dict[str, object]) -> dict[str, object]:
    dag = component.get("dag")
    if not isinstance(dag, dict):
        return component
    tasks = {name: {**task, "cachingOptions": {}} for name, task in dag.get("tasks", {}).items()}
    return {**component, "dag": {**dag, "tasks": tasks}}
