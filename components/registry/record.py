"""Version record: facts about a registered Model: its Problem, metrics, data, parent, approval and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.core import storage
from headrace.core.artifacts.model import training_of
from headrace.core.errors import DataError

EVALUATION = "evaluation.json"


def read_evaluation(evaluation_dir: str, version: str) -> bytes:
    """The content of the evaluation.json of a version.

    Raises:
        DataError: the file is missing or damaged, or belongs to another model.
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
    """The facts in the record of a version, without its files.

    Args:
        model_dir: path or URI of the Model.
        evaluation: content of its evaluation.json; None without one.

    Returns:
        The members `version`; `problem`, `problem_digest` and `task`; `data`, the identity of the Examples; `parent`,
        the version of the warm start, or None; `metrics`, values by name; and `approval`: "blessed", "refused" or
        "pending".

    Raises:
        DataError: the Model's training.json is missing or damaged.
    """
    training = training_of(model_dir)
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
