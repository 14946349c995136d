"""Leaf tasks of a compiled spec: those that do work, and are not graphs of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any


def leaves(pipeline: Mapping[str, Any]) -> list[str]:
    """The names of a pipeline's tasks in topological order; exit tasks are last."""
    return list(dict.fromkeys(_below(pipeline, pipeline.get("root", {}), frozenset())))


def names(pipeline: Mapping[str, Any]) -> set[str]:
    """The names of all tasks of a pipeline, graphs included."""
    return {
        name for one in (pipeline.get("root", {}), *pipeline.get("components", {}).values()) for name in _tasks(one)
    }


def gated(pipeline: Mapping[str, Any], channel: str) -> list[str]:
    """The names of the tasks within the conditions that read a channel, such as pipelinechannel--evaluate-Output."""
    components = pipeline.get("components", {})
    found: list[str] = []
    for component in (pipeline.get("root", {}), *components.values()):
        for task in _tasks(component).values():
            if f"'{channel}'" in task.get("triggerPolicy", {}).get("condition", ""):
                inner = components.get(task.get("componentRef", {}).get("name"), {})
                found += _below(pipeline, inner, frozenset())
    return list(dict.fromkeys(found))


def _tasks(component: Mapping[str, Any]) -> Mapping[str, Any]:
    tasks: Mapping[str, Any] = component.get("dag", {}).get("tasks", {})
    return tasks


def _below(pipeline: Mapping[str, Any], component: Mapping[str, Any], seen: frozenset[str]) -> Iterator[str]:
    tasks = _tasks(component)
    order = TopologicalSorter({name: task.get("dependentTasks", ()) for name, task in tasks.items()})
    for name in order.static_order():
        reference = tasks.get(name, {}).get("componentRef", {}).get("name", "")
        inner = pipeline.get("components", {}).get(reference, {})
        if "dag" not in inner:
            yield name
        elif reference not in seen:
            yield from _below(pipeline, inner, seen | {reference})
