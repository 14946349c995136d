"""Version record: a Model's facts in a registry: its Problem, metrics, data, parent, approval and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.core import storage
from headrace.core.artifacts.missing import no_artifact
from headrace.core.artifacts.model import version_of
from headrace.core.errors import DataError

_MODEL_FILES = ("saved_model/saved_model.pb", "schema.json", "problem.json", "golden.json", "training.json")
EVALUATION = "evaluation.json"


def model_version(model_dir: str) -> str:
    """The version of a Model artifact, which is checked to be complete.

    Raises:
        UsageError: the folder holds no Model, or an incomplete one.
        DataError: its version is not a valid name.
    """
    missing = [name for name in _MODEL_FILES if not storage.exists(storage.join(model_dir, name))]
    if missing:
        there = storage.exists(model_dir)
        raise no_artifact("Model", model_dir, received=f"no {', no '.join(missing)}" if there else "")
    return version_of(model_dir)


def read_evaluation(evaluation_dir: str, version: str) -> bytes:
    """The content of the evaluation.json of a version.

    Raises:
        DataError: it is missing or damaged, or belongs to another model.
    """
    where = storage.join(evaluation_dir, EVALUATION)
    evaluation = storage.read_json(where)
    judged = evaluation.get("model_version") if isinstance(evaluation, dict) else None
    if judged != version:
        raise DataError(
            "the evaluation belongs to another model",
            where=where,
            expected=f"model_version {version}",
            received=str(judged),
        )
    return storage.read_bytes(where)


def facts_of(model_dir: str, evaluation: bytes | None) -> dict[str, Any]:
    """The facts about a version that its record holds besides its files.

    Args:
        model_dir: the Model.
        evaluation: content of its evaluation.json, or None.

    Returns:
        The version; the Problem's name, the digest of its file, and the task; `data`, the identity of the Examples;
        `parent`, the version that it was warm started from, or None; the metrics' values; and `approval`: "blessed",
        "refused" or "pending".
    """
    training = _mapping(storage.read_json(storage.join(model_dir, "training.json")))
    judged = {} if evaluation is None else _mapping(json.loads(evaluation))
    metrics = {name: _mapping(m).get("value") for name, m in _mapping(judged.get("metrics")).items()}
    blessed = {True: "blessed", False: "refused"}.get(judged.get("blessed"), "pending")  # type: ignore[arg-type]
    return {
        "version": training.get("model_version"),
        "problem": training.get("problem"),
        "problem_digest": training.get("problem_digest"),
        "task": training.get("task"),
        "data": training.get("examples_identity"),
        "parent": _mapping(training.get("warm_start")).get("model_version"),
        "metrics": metrics,
        "approval": blessed,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
