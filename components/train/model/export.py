"""Writes a trained model as a Model artifact, and compares what was written with the model before it is published."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.trained_model import Model
from headrace.components.train.model.users.code import blaming
from headrace.core import storage
from headrace.core.errors import PlatformError, ProblemError
from headrace.core.expressions.lower_tensorflow import derive
from headrace.core.problem import Numeric, Problem
from headrace.core.problem.file import ProblemFile
from headrace.core.saved_model.input_names import argument_names, rename_inputs
from headrace.core.saved_model.interface import SERVING_DEFAULT
from headrace.core.saved_model.loaded import SavedModel

GOLDEN_ROWS = 16
# The exported graph is the same operations; other fusions may round the last bits differently.
_RELATIVE_TOLERANCE = 1e-5
# Four units in the last place of layers that compute in 16 bits.
_PRECISIONS = {"float16": 2**-8, "bfloat16": 2**-5}
# Values of a row that are shown.
_SHOWN = 6


def export(
    folder: Path,
    model: Model,
    problem_file: ProblemFile,
    examples: str,
    rows: Mapping[str, np.ndarray[Any, Any]],
) -> None:
    """Writes all of a Model artifact but training.json, which the caller writes last.

    Args:
        folder: where to write.
        model: trained.
        problem_file: copied as problem.py, and the user's modules that it imports beside it.
        examples: the Examples artifact, whose schema and statistics are copied.
        rows: raw rows that are predicted by the model and by what was written: features, what derived ones are
            computed from, and "key", by name.

    Raises:
        PlatformError: what was written answers other than the model.
        ProblemError: a user's model that cannot be saved, or an answer that is not a finite number.
    """
    problem = problem_file.problem
    served = _write_model(folder, model, problem_file, rows)
    copy_code(folder, problem_file)
    storage.write_json(str(folder / "problem.json"), problem.to_json())
    for name in ("schema.json", "statistics.json"):
        shutil.copyfile(storage.local_path(storage.join(examples, name)), folder / name)
    storage.write_json(str(folder / "golden.json"), golden(problem, rows, served))


def try_export(model: Model, problem_file: ProblemFile, rows: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Writes a user's model that is not yet trained, so that what an export fails at is found in its first seconds.

    Args:
        model: built.
        problem_file: of it.
        rows: raw rows that it is tried on: features and "key", by name.

    Raises:
        PlatformError: what was written answers other than the model.
        ProblemError: it cannot be saved, or an answer is not a finite number.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-export-") as folder:
        _write_model(Path(folder), model, problem_file, rows)


def _write_model(folder: Path, model: Model, problem_file: ProblemFile, rows: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the SavedModel and model.keras, and gives what the SavedModel answers for `rows`."""
    problem = problem_file.problem
    own = problem_file.build_model is not None
    saved = folder / "saved_model"
    with blaming(problem_file, "the model cannot be exported") if own else nullcontext():
        _save(saved, model, problem)
    try:
        model.whole.save(folder / "model.keras")
    except Exception as error:
        if not own:
            raise
        raise ProblemError(
            "the model cannot be saved as model.keras",
            where=problem_file.own_line(error.__traceback__) or f"{problem_file.path}, build_model",
            expected="layers with get_config(), registered by keras.saving.register_keras_serializable",
            received=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else error}",
        ) from error
    in_memory, served = _in_memory(model, rows), _serve(saved, problem, rows)
    where = f"{problem_file.path}, build_model" if own else "saved_model"
    for answers in (in_memory, served):
        _check_finite(answers, rows, problem, where)
    compare(in_memory, served, tolerance=_tolerance(model), threshold=problem.threshold)
    return served


def _check_finite(answers: Mapping[str, Any], rows: Mapping[str, Any], problem: Problem, where: str) -> None:
    for values in answers.values():
        if values.dtype.kind != "f":
            continue
        wrong = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if len(wrong):
            first = {column.name: _json(rows[column.name][wrong[0]]) for column in problem.columns}
            shown = ", ".join(f"{name}={value!r}" for name, value in list(first.items())[:_SHOWN])
            raise ProblemError(
                f"the model gives NaN or infinity for {len(wrong)} of {len(values)} rows",
                where=where,
                expected="finite numbers for every row that the data may hold",
                received=f"{values[wrong[0]]} for {shown}{', ...' if len(first) > _SHOWN else ''}",
                fix="Replace or clip what its operations are not defined for, such as the log of 0 or less",
            )


def _tolerance(model: Model) -> float:
    """How far two computations of the same prediction may differ, by the least precise layer."""
    layers: Iterable[Any] = model.whole._flatten_layers()
    precisions = [_PRECISIONS.get(str(layer.compute_dtype), 0.0) for layer in layers]
    return max([_RELATIVE_TOLERANCE, *precisions])


def copy_code(folder: Path, problem_file: ProblemFile) -> None:
    """Writes a Problem file as problem.py, and the user's modules beside it, where it finds them again."""
    for name, text in {**problem_file.files, "problem.py": problem_file.source}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def compare(
    expected: Mapping[str, Any],
    received: Mapping[str, Any],
    *,
    tolerance: float = _RELATIVE_TOLERANCE,
    threshold: float = 0.5,
) -> None:
    """Compares what the model and what was exported answer: arrays of finite numbers or texts by output name.

    A class is compared where its probability decides: two that are nearly even may each come out.

    Args:
        expected: by output name.
        received: likewise.
        tolerance: relative, and absolute.
        threshold: from which a binary model predicts the second class.

    Raises:
        PlatformError: they differ.
    """
    for name, values in expected.items():
        answers = received[name]
        if values.dtype.kind == "f":
            same = np.isclose(answers, values, rtol=tolerance, atol=tolerance).reshape(len(values), -1).all(axis=1)
        else:
            same = (values == answers) | (_even(expected, tolerance, threshold) if name == "prediction" else False)
        different = np.flatnonzero(~same)
        if len(different):
            row = int(different[0])
            raise PlatformError(
                "the exported model answers other than the trained one",
                where=f'saved_model, output "{name}"',
                expected=f"{values[row].tolist() if hasattr(values[row], 'tolist') else values[row]} for row {row}",
                received=f"{answers[row].tolist() if hasattr(answers[row], 'tolist') else answers[row]}",
            )


def _even(answers: Mapping[str, Any], tolerance: float, threshold: float) -> Any:
    """[rows] bool: whether rounding decides between two classes."""
    if "probability" in answers:
        return np.abs(answers["probability"] - threshold) <= tolerance
    if "probabilities" in answers:
        two = np.sort(answers["probabilities"], axis=1)[:, -2:]
        return two[:, 1] - two[:, 0] <= 2 * tolerance
    return False


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


def _save(folder: Path, model: Model, problem: Problem) -> None:
    predictions = model.objective.predictions
    module = tf.Module()
    module.tracked = list(model.trackables)

    def serve(**inputs: Any) -> dict[str, Any]:
        features = {name: inputs[argument] for name, argument in arguments.items()}
        key = features.pop("key")
        derived = derive(problem.derivation.features, features)
        return {"key": tf.identity(key), **predictions(model.outputs({**features, **derived}))}

    served = problem.derivation.served
    arguments = argument_names([*(column.name for column in served), "key"])
    numbers = {column.name for column in served if isinstance(column, Numeric)}
    signature = {
        argument: tf.TensorSpec([None], tf.float32 if name in numbers else tf.string, argument)
        for name, argument in arguments.items()
    }
    module.serve = tf.function(serve, autograph=False)
    signatures = {SERVING_DEFAULT: module.serve.get_concrete_function(**signature)}
    # They look up the texts of features; derived ones are computed from other texts, and from numbers.
    text_tables = None if problem.derivation.features else model.text_tables()
    if text_tables is not None:
        signatures |= text_tables.signatures(predictions)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
    rename_inputs(folder, SERVING_DEFAULT, arguments)


def _serve(folder: Path, problem: Problem, rows: Mapping[str, Any]) -> dict[str, Any]:
    names = [*(column.name for column in problem.derivation.served), "key"]
    served = SavedModel(str(folder))({name: tf.constant(rows[name]) for name in names})
    return {name: tensor.numpy() for name, tensor in served.items()}


def _in_memory(model: Model, rows: Mapping[str, Any]) -> dict[str, Any]:
    features = {name: tf.constant(rows[name]) for name in model.inputs}
    answers = {name: tensor.numpy() for name, tensor in model.objective.predictions(model.outputs(features)).items()}
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
