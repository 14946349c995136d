"""Models and Evaluations as far as a registry reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROBLEM = {"label": {"name": "y", "kind": "Numeric"}, "features": [{"name": "a", "kind": "Numeric"}]}


def make_model(
    folder: Path,
    version: Any,
    content: str = "weights",
    *,
    problem: str | None = None,
    data: str | None = None,
    parent: str | None = None,
    digest: str = "",
) -> str:
    """A Model artifact without a graph that could be loaded; `digest` is that of its Problem file."""
    (folder / "saved_model" / "variables").mkdir(parents=True)
    (folder / "saved_model" / "saved_model.pb").write_text("graph")
    (folder / "saved_model" / "variables" / "variables.data").write_text(content)
    for name, held in (("schema", {"columns": []}), ("problem", _PROBLEM), ("golden", {})):
        (folder / f"{name}.json").write_text(json.dumps(held))
    training: dict[str, Any] = {"model_version": version}
    if problem is not None:
        training |= {"problem": problem, "problem_digest": digest, "task": "regression", "examples_identity": data}
        training["warm_start"] = None if parent is None else {"model_version": parent}
    (folder / "training.json").write_text(json.dumps(training))
    return str(folder)


def make_evaluation(
    folder: Path, version: str, *, blessed: bool = True, metrics: Mapping[str, float] | None = None
) -> str:
    """An Evaluation of a version."""
    folder.mkdir()
    measured = {name: {"value": value} for name, value in (metrics or {}).items()}
    content = {"model_version": version, "blessed": blessed, "metrics": measured}
    (folder / "evaluation.json").write_text(json.dumps(content))
    return str(folder)
