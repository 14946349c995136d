"""A pipeline compiled for this machine, and what tests look at in it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from headrace.pipelines.compiler import compile_to


def compile_spec(pipeline: str, folder: Path) -> dict[str, Any]:
    """The compiled spec of a pipeline."""
    path = folder / f"{pipeline}.yaml"
    compile_to(pipeline, "local", str(path))
    spec: dict[str, Any] = yaml.safe_load(path.read_text())
    return spec


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    """The tasks of a spec by name, those inside of conditions and exit handlers too."""
    found = dict(spec["root"]["dag"]["tasks"])
    for component in spec["components"].values():
        found |= component.get("dag", {}).get("tasks", {})
    return found


def without_release(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec without what a new version of kfp or of this package changes."""
    spec = copy.deepcopy(spec)
    spec.pop("sdkVersion", None)
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"].pop("image", None)
    return spec
