"""Model export: writes a trained model as a Model artifact and compares its predictions with the model's."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.scaled_numbers import divided, own_units
from headrace.components.train.model.trained_model import TrainedModel
from headrace.components.train.model.users.code import blaming
from headrace.core import storage
from headrace.core.errors import PlatformError, ProblemError
from headrace.core.expressions.lower_tensorflow import derive
from headrace.core.problem import Numeric, Problem
from headrace.core.problem.file import ProblemFile
from headrace.core.rules.column import NumberRule
from headrace.core.saved_model.input_names import argument_names, rename_inputs
from headrace.core.saved_model.interface import SERVING_DEFAULT
from headrace.core.saved_model.loaded import SavedModel
from headrace.core.values.scaling import unscaled_number

GOLDEN_ROWS = 16
# The exported graph has the same operations, but other fusions may round the last bits differently.
_RELATIVE_TOLERANCE = 1e-5
# Four units in the last place, for layers that compute in 16 bits.
_PRECISIONS = {"float16": 2**-8, "bfloat16": 2**-5}
# Number of values of a row in an error message.
_SHOWN = 6


def export(
    folder: Path,
    model: TrainedModel,
    problem_file: ProblemFile,
    examples: str,
    rows: Mapping[str, np.ndarray[Any, Any]],
) -> None:
    """Writes a Model artifact without training.json, which the caller writes last.

    Args:
        folder: the output folder.
        model: trained.
        problem_file: copied as problem.py, together with the user's modules that it imports.
        examples: the Examples artifact, whose schema and statistics are copied.
        rows: rows on which the model and the exported model are compared: features, inputs of derived features, and
            "key", by name, as Examples hold them.

    Raises:
        PlatformError: the predictions of the exported model differ from the model's.
        ProblemError: a user's model cannot be saved, or a prediction is not a finite number.
    """
    problem = problem_file.problem
    served = _write_model(folder, model, problem_file, rows)
    copy_code(folder, problem_file)
    storage.write_json(str(folder / "problem.json"), problem.to_json())
    for name in ("schema.json", "statistics.json"):
        (folder / name).write_bytes(storage.read_bytes(storage.join(examples, name)))
    storage.write_json(str(folder / "golden.json"), golden(problem, rows, served))


def try_export(model: TrainedModel, problem_file: ProblemFile, rows: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Exports a user's model before training, to report an error of the export in the first seconds.

    Args:
        model: built, not trained.
        problem_file: that defines it.
        rows: raw rows to predict: features and "key", by name.

    Raises:
        PlatformError: the predictions of the exported model differ from the model's.
        ProblemError: the model cannot be saved, or a prediction is not a finite number.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-export-") as folder:
        _write_model(Path(folder), model, problem_file, rows)


def _write_model(
    folder: Path, model: TrainedModel, problem_file: ProblemFile, rows: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the SavedModel and model.keras; returns the SavedModel's predictions for `rows`."""
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
    exponent = model.objective.exponent
    compare(in_memory, served, tolerance=_tolerance(model), threshold=problem.threshold, exponent=exponent)
    return served


def _check_finite(answers: Mapping[str, Any], rows: Mapping[str, Any], problem: Problem, where: str) -> None:
    for values in answers.values():
        if values.dtype.kind != "f":
            continue
        wrong = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if len(wrong):
            given = own_units(problem, rows)
            first = {column.name: _json(given[column.name][wrong[0]]) for column in problem.columns}
            shown = ", ".join(f"{name}={value!r}" for name, value in list(first.items())[:_SHOWN])
            raise ProblemError(
                f"the model predicts NaN or infinity for {len(wrong)} of {len(values)} rows",
                where=where,
                expected="finite numbers for all possible rows",
                received=f"{values[wrong[0]]} for {shown}{', ...' if len(first) > _SHOWN else ''}",
                fix="Replace or clip values for which its operations are not defined, such as the log of 0",
            )


def _tolerance(model: TrainedModel) -> float:
    """Maximum difference between two computations of one prediction, for the layer of the lowest precision."""
    layers: Iterable[Any] = model.whole._flatten_layers()
    precisions = [_PRECISIONS.get(str(layer.compute_dtype), 0.0) for layer in layers]
    return max([_RELATIVE_TOLERANCE, *precisions])


def copy_code(folder: Path, problem_file: ProblemFile) -> None:
    """Writes a Problem file as problem.py, and next to it the user's modules, from where it can import them."""
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
    exponent: int = 0,
) -> None:
    """Compares the predictions of the model and of the exported model: arrays of finite numbers or texts by output.

    A predicted class is not compared if two classes are equally probable up to rounding.

    Args:
        expected: by output name.
        received: by output name.
        tolerance: relative, and absolute.
        threshold: from which a binary model predicts the second class.
        exponent: the absolute tolerance is of numbers divided by 2 ** exponent.

    Raises:
        PlatformError: they differ.
    """
    for name, values in expected.items():
        answers = received[name]
        if values.dtype.kind == "f":
            nearly = unscaled_number(tolerance, exponent)
            same = np.isclose(answers, values, rtol=tolerance, atol=nearly).reshape(len(values), -1).all(axis=1)
        else:
            same = (values == answers) | (_even(expected, tolerance, threshold) if name == "prediction" else False)
        different = np.flatnonzero(~same)
        if len(different):
            row = int(different[0])
            raise PlatformError(
                "the predictions of the exported model differ from those of the trained model",
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
    """Up to 16 of `rows`, evenly spaced, as JSON instances with their served predictions."""
    rows = own_units(problem, rows)
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


def _save(folder: Path, model: TrainedModel, problem: Problem) -> None:
    predictions = model.objective.predictions
    module = tf.Module()
    module.tracked = list(model.trackables)

    def serve(**inputs: Any) -> dict[str, Any]:
        given = {name: inputs[argument] for name, argument in arguments.items()}
        key = given.pop("key")
        whole = given | derive(problem.derivation.features, given)
        features = {name: divided(column, exponents.get(name, 0)) for name, column in whole.items()}
        return {"key": tf.identity(key), **predictions(model.outputs(features))}

    exponents = problem.exponents
    served = problem.derivation.served
    arguments = argument_names([*(column.name for column in served), "key"])
    numbers = {c.name: tf.as_dtype(NumberRule(c).dtype) for c in served if isinstance(c, Numeric)}
    signature = {
        argument: tf.TensorSpec([None], numbers.get(name, tf.string), argument) for name, argument in arguments.items()
    }
    # Not an attribute of the module: the SavedModel would hold the function twice, which each load would read.
    signatures = {SERVING_DEFAULT: tf.function(serve, autograph=False).get_concrete_function(**signature)}
    # The text tables look up the texts of features; a derived feature is computed from other texts and from numbers.
    text_tables = None if problem.derivation.features else model.text_tables()
    if text_tables is not None:
        signatures |= text_tables.signatures(predictions)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
    rename_inputs(folder, SERVING_DEFAULT, arguments)


def _serve(folder: Path, problem: Problem, rows: Mapping[str, Any]) -> dict[str, Any]:
    names = [*(column.name for column in problem.derivation.served), "key"]
    given = own_units(problem, rows)
    served = SavedModel(str(folder))({name: tf.constant(given[name]) for name in names})
    return {name: tensor.numpy() for name, tensor in served.items()}


def _in_memory(model: TrainedModel, rows: Mapping[str, Any]) -> dict[str, Any]:
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
    # The shortest number that is read as the same float32 (or float64): 0.1, not 0.10000000149011612.
    return None if math.isnan(value) else float(str(value) if missing else value)
