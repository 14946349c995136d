"""Runs a component of ours in this process as an engine would in a container: its imports take seconds each time."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kfp import dsl
from peers.pipeline_engine import Call, TaskFailed
from peers.vertex.containers import known


def run(component: Any, call: Call, scratch: Path) -> dict[str, Any]:
    """Calls the component's own function with what a task of a pipeline was given.

    Args:
        component: made by `dsl.component`.
        call: the task.
        scratch: a folder for outputs that are paths.

    Returns:
        The output parameters.

    Raises:
        TaskFailed: it exited with another status than 0.
    """
    given = {name: known(value) for name, value in call.parameters.items()}
    folder = scratch / call.task
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for name in inspect.signature(component.python_func).parameters:
        if name in call.artifacts or name in call.outputs:
            held = call.artifacts.get(name) or call.outputs[name]
            given[name] = dsl.Dataset(name=name, uri=held["uri"], metadata=dict(held["metadata"]))
        elif name == "final_status":
            ended = given[name]
            job = ended["pipelineJobResourceName"]
            given[name] = SimpleNamespace(state=ended["state"], pipeline_job_resource_name=job)
        elif name not in given:
            paths[name] = folder / name
            given[name] = str(paths[name])
    try:
        answer = component.python_func(**given)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
        raise TaskFailed(f"exited with a non-zero status of {status}", status=status) from ended
    names = [name for name in component.component_spec.outputs or {} if name not in {**paths, **call.outputs}]
    made = {names[0]: answer} if names == ["Output"] else dict(zip(names, answer or (), strict=True))
    return {**made, **{name: path.read_text() for name, path in paths.items()}}
