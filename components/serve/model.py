"""Loaded SavedModel that predicts from NumPy columns: the only module of serving that imports TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from headrace.core.errors import DataError, PlatformError
from headrace.core.saved_model.find import Source
from headrace.core.saved_model.json_columns import Columns, Input, Interface, columns_from_instances
from headrace.core.saved_model.json_rows import NoPrediction
from headrace.core.saved_model.loaded import PLATFORM_ERRORS, OpError, SavedModel, cause, check_answers
from headrace.core.saved_model.refused_rows import RowsRefused

_KINDS = {tf.float32: "numeric", tf.float64: "numeric", tf.string: "categorical"}


class Model:
    """A loaded model; thread-safe.

    Attributes:
        name: of the model in URLs.
        version: of the model in responses.
        interface: its inputs and outputs.
        signature_def: inputs and outputs in the form of TensorFlow Serving's metadata.
    """

    def __init__(self, source: Source) -> None:
        """Loads the SavedModel of `source` and makes a first prediction.

        Raises:
            DataError: it cannot be loaded, or an input is not one value per row by name.
            PlatformError: its first prediction failed.
        """
        self.name = source.name
        self.version = source.version
        self._model = SavedModel(source.saved_model)
        inputs = self._model.inputs
        self._dtypes = {name: spec.dtype for name, spec in inputs.items()}
        self.interface = _interface(source, inputs)
        self.signature_def = {
            "inputs": {name: _tensor_info(spec) for name, spec in inputs.items()},
            "outputs": {name: _tensor_info(spec) for name, spec in self._model.outputs.items()},
            "method_name": "tensorflow/serving/predict",
        }
        if source.warm_up:
            try:
                self.predict(columns_from_instances(source.warm_up, self.interface))
            except (NoPrediction, RowsRefused) as error:
                raise PlatformError(error.what, where=source.saved_model, received=error.received) from error

    def predict(self, columns: Columns) -> Columns:
        """Predictions for columns of equal length, from the converter.

        Args:
            columns: a column for each feature; `key` is optional where the model accepts one.

        Returns:
            Each output by name, [rows, ...]; `key` only if it was in `columns`.

        Raises:
            NoPrediction: the model fails on these rows.
            PlatformError: it failed for another reason, or returned fewer rows.
        """
        rows = len(next(iter(columns.values())))
        keyed = "key" in columns or not self.interface.takes_key
        if not keyed:
            columns = {**columns, "key": np.full(rows, "", dtype=object)}
        try:
            tensors = {name: tf.constant(columns[name], dtype=dtype) for name, dtype in self._dtypes.items()}
            outputs = {name: tensor.numpy() for name, tensor in self._model(tensors).items()}
        except PLATFORM_ERRORS as error:
            raise PlatformError("the model failed", received=cause(error)) from error
        except OpError as error:
            raise NoPrediction("the model failed", received=cause(error)) from error
        try:
            check_answers(outputs, rows)
        except DataError as error:
            # The request is valid: the model is at fault.
            raise PlatformError(
                error.what, where=error.where, expected=error.expected, received=error.received
            ) from error
        # The key comes first, as readers look for it.
        ordered = sorted(outputs, key=lambda name: (name != "key", name))
        return {name: outputs[name] for name in ordered if keyed or name != "key"}


def _interface(source: Source, inputs: dict[str, tf.TensorSpec]) -> Interface:
    """The interface that the artifact declares, checked against the signature; else the signature's own."""
    kinds = {}
    for name, spec in inputs.items():
        if spec.dtype not in _KINDS or spec.shape.rank != 1:
            raise DataError(
                "the type of the signature's input is not supported",
                where=f"{source.saved_model}, {name}",
                expected="float32, float64 or string of shape [None]: one value per row",
                received=f"{spec.dtype.name} of shape {spec.shape}",
            )
        kinds[name] = _KINDS[spec.dtype]
    takes_key = kinds.get("key") == "categorical"
    features = {name: kind for name, kind in kinds.items() if name != "key" or not takes_key}
    declared = source.interface
    if declared is None:
        return Interface(
            tuple(
                Input(name, "numeric", dtype="float64" if inputs[name].dtype == tf.float64 else "float32")
                if kind == "numeric"
                else Input(name, "categorical")
                for name, kind in features.items()
            ),
            takes_key=takes_key,
        )
    wanted = {i.name: str(i.kind) for i in declared.inputs}
    if wanted != features or takes_key != declared.takes_key:
        raise DataError(
            "the SavedModel and schema.json of the Model disagree",
            where=source.saved_model,
            expected=_list(wanted) + (", key" if declared.takes_key else ""),
            received=_list(features) + (", key" if takes_key else ""),
        )
    return declared


def _list(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items()))


def _tensor_info(spec: tf.TensorSpec) -> dict[str, Any]:
    sizes = spec.shape.as_list() if spec.shape.rank is not None else []
    return {
        "dtype": f"DT_{_DTYPES.get(spec.dtype.name, spec.dtype.name.upper())}",
        "tensor_shape": {
            "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in sizes],
            "unknown_rank": spec.shape.rank is None,
        },
        "name": spec.name or "",
    }


_DTYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
