"""Writes a trained model as a Model artifact, and compares what was written with the model before it is published."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.build import Model
from headrace.components.train.model.objective import Objective
from headrace.core import storage
from headrace.core.errors import PlatformError, ProblemError
from headrace.core.expressions.lower_tensorflow import derive
from headrace.core.problem import Numeric, Problem
from headrace.core.problem.file import ProblemFile

GOLDEN_ROWS = 16
# The exported graph is the same operations; other fusions may round the last bits differently.
_RELATIVE_TOLERANCE = 1e-5


def export(
    folder: Path,
    model: Model,
    problem_file: ProblemFile,
    objective: Objective,
    examples: str,
    rows: Mapping[str, np.ndarray[Any, Any]],
) -> None:
    """Writes all of a Model artifact but training.json, which the caller writes last.

    Args:
        folder: where to write.
        model: trained.
        problem_file: copied as problem.py, and the user's modules that it imports beside it.
        objective: what the outputs mean.
        examples: the Examples artifact, whose schema and statistics are copied.
        rows: raw rows that are predicted by the model and by what was written: features, what derived ones are
            computed from, and "key", by name.

    Raises:
        PlatformError: what was written answers other than the model, or not with finite numbers.
        ProblemError: a user's model that cannot be saved.
    """
    problem = problem_file.problem
    saved = folder / "saved_model"
    _save(saved, model, problem, objective)
    try:
        model.whole.save(folder / "model.keras")
    except (NotImplementedError, TypeError, ValueError) as error:
        if problem_file.build_model is None:
            raise
        raise ProblemError(
            "the model cannot be saved as model.keras",
            where=f"{problem_file.path}, build_model",
            expected="layers with get_config(), registered by keras.saving.register_keras_serializable",
            received=f"{type(error).__name__}: {error}",
        ) from error
    served = _serve(saved, problem, rows)
    compare(_in_memory(model, objective, rows), served)
    copy_code(folder, problem_file)
    storage.write_json(str(folder / "problem.json"), problem.to_json())
    for name in ("schema.json", "statistics.json"):
        shutil.copyfile(storage.local_path(storage.join(examples, name)), folder / name)
    storage.write_json(str(folder / "golden.json"), golden(problem, rows, served))


def copy_code(folder: Path, problem_file: ProblemFile) -> None:
    """Writes a Problem file as problem.py, and the user's modules beside it, where it finds them again."""
    for name, text in {**problem_file.files, "problem.py": problem_file.source}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def compare(expected: Mapping[str, Any], received: Mapping[str, Any]) -> None:
    """Compares what the model and what was exported answer: arrays by output name.

    Raises:
        PlatformError: they differ, or a number is not finite; a NaN would otherwise go unnoticed, being an answer.
    """
    for name, values in expected.items():
        answers = received[name]
        if values.dtype.kind == "f":
            finite = bool(np.isfinite(values).all() and np.isfinite(answers).all())
            same = finite and bool(np.allclose(answers, values, rtol=_RELATIVE_TOLERANCE, atol=_RELATIVE_TOLERANCE))
        else:
            finite, same = True, bool(np.array_equal(values, answers))
        if not same:
            different = [i for i in range(len(values)) if not np.array_equal(values[i], answers[i])]
            raise PlatformError(
                "the exported model answers other than the trained one" if finite else "a prediction is not finite",
                where=f'saved_model, output "{name}"',
                expected=f"{values[different[:1]].tolist()} for row {different[:1]}" if finite else "finite numbers",
                received=str(answers[different[:1]].tolist() if finite else answers[~np.isfinite(answers)][:3]),
            )


def golden(problem: Problem, rows: Mapping[str, Any], served: Mapping[str, Any]) -> dict[str, Any]:
    """Up to 16 of `rows`, evenly spaced, as JSON instances and the answers served for them."""
    count = len(rows["key"])
    chosen = [i * count // min(GOLDEN_ROWS, count) for i in range(min(GOLDEN_ROWS, count))]
    columns = [*problem.derivation.served, None]
    return {
        "format": 1,
        "instances": [
            {column.name if column else "key": _json(rows[column.name if column else "key"][i]) for column in columns}
            for i in chosen
        ],
        "predictions": [{name: _json(served[name][i], missing=False) for name in _ordered(served)} for i in chosen],
    }


def _save(folder: Path, model: Model, problem: Problem, objective: Objective) -> None:
    module = tf.Module()
    module.tracked = list(model.trackables)

    def serve(**inputs: Any) -> dict[str, Any]:
        key = inputs.pop("key")
        derived = derive(problem.derivation.features, inputs)
        return {"key": tf.identity(key), **objective.predictions(model.outputs({**inputs, **derived}))}

    signature = {
        column.name: tf.TensorSpec([None], tf.float32 if isinstance(column, Numeric) else tf.string, column.name)
        for column in problem.derivation.served
    }
    signature["key"] = tf.TensorSpec([None], tf.string, "key")
    module.serve = tf.function(serve, autograph=False)
    concrete = module.serve.get_concrete_function(**signature)
    signatures = {"serving_default": concrete}
    # They look up the texts of features; derived ones are computed from other texts, and from numbers.
    text_tables = None if problem.derivation.features else model.text_tables()
    if text_tables is not None:
        signatures |= text_tables.signatures(objective.predictions)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)


def _serve(folder: Path, problem: Problem, rows: Mapping[str, Any]) -> dict[str, Any]:
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    names = [*(column.name for column in problem.derivation.served), "key"]
    return {name: tensor.numpy() for name, tensor in signature(**{n: tf.constant(rows[n]) for n in names}).items()}


def _in_memory(model: Model, objective: Objective, rows: Mapping[str, Any]) -> dict[str, Any]:
    features = {name: tf.constant(rows[name]) for name in model.inputs}
    answers = {name: tensor.numpy() for name, tensor in objective.predictions(model.outputs(features)).items()}
    return {"key": rows["key"], **answers}


def _ordered(served: Mapping[str, Any]) -> list[str]:
    return sorted(served, key=["key", "prediction", "probability", "probabilities"].index)


def _json(value: Any, *, missing: bool = True) -> Any:
    """A JSON value; a missing feature (NaN or "") is null."""
    if isinstance(value, bytes):
        return value.decode() if value or not missing else None
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if math.isnan(value) else float(value)
