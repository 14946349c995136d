"""Loaded SavedModel that predicts from NumPy columns: the only module of serving that imports TensorFlow."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from headrace.components.serve.calls import answers_in_calls
from headrace.core.errors import DataError, PlatformError
from headrace.core.saved_model.binding import with_key_input
from headrace.core.saved_model.constants import with_constants
from headrace.core.saved_model.find import Source
from headrace.core.saved_model.independence import answers_to, check_independence, trial_rows, with_binary
from headrace.core.saved_model.interface import SERVING_DEFAULT, Takes, refuse_per_call
from headrace.core.saved_model.json.columns import Columns, Interface, columns_from_instances
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.rows import NoPrediction
from headrace.core.saved_model.json.tensors import TensorInput
from headrace.core.saved_model.loaded import (
    PLATFORM_ERRORS,
    OpError,
    SavedModel,
    cause,
    check_answers,
    constant_tensors,
)

_KINDS = {tf.float32: "numeric", tf.float64: "numeric", tf.string: "categorical"}


class Model:
    """A loaded model; thread-safe.

    Attributes:
        name: of the model in URLs.
        version: of the model in responses.
        interface: its inputs and outputs.
        signature: of the SavedModel.
        signature_def: inputs and outputs in the form of TensorFlow Serving's metadata.
    """

    def __init__(
        self, source: Source, *, signature: str = SERVING_DEFAULT, constants: Mapping[str, Any] | None = None
    ) -> None:
        """Loads the SavedModel of `source` and makes a first prediction.

        Args:
            source: of the model.
            signature: of the SavedModel.
            constants: a value for each input of shape [], which is one for all rows.

        Raises:
            DataError: it cannot be loaded, or JSON rows cannot hold an input or an output.
            UsageError: the constants are not those that it takes.
            PlatformError: its first prediction failed.
        """
        self.name = source.name
        self.version = source.version
        self.signature = signature
        self._model = SavedModel(source.saved_model, signature)
        inputs = self._model.inputs
        if source.interface is not None and signature == SERVING_DEFAULT:
            self.interface = _declared(source, source.interface, inputs)
            takes = Takes(signature, (), ())
        else:
            takes = with_key_input(self._model.takes(any_outputs=True), None)
            self.interface = Interface(tuple(map(TensorInput.of, takes.inputs)), takes_key=takes.key_input is not None)
        refuse_per_call(takes, self._model.path, "score in batches with --batch whole, which repeats it in each row")
        takes = with_constants(takes, constants or {})
        self._constants = constant_tensors(takes.constants)
        self._dtypes = {name: spec.dtype for name, spec in inputs.items() if name not in self._constants}
        self._batch = takes.batch
        if takes.inputs:
            takes = self._tried(takes)
        self._binary = frozenset(given.name for given in takes.outputs if given.binary)
        self.signature_def = {
            "inputs": {name: _tensor_info(spec) for name, spec in inputs.items()},
            "outputs": {name: _tensor_info(spec) for name, spec in sorted(self._model.outputs.items())},
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
            DataError: the model requires another number of rows, which depend on each other.
            NoPrediction: the model fails on these rows.
            PlatformError: it failed for another reason, or returned fewer rows.
        """
        rows = len(next(iter(columns.values())))
        keyed = "key" in columns or not self.interface.takes_key
        if not keyed:
            columns = {**columns, "key": np.full(rows, "", dtype=object)}
        try:
            outputs = answers_in_calls(self._call, columns, rows, self._batch)
        except PLATFORM_ERRORS as error:
            raise PlatformError("the model failed", received=cause(error)) from error
        except OpError as error:
            raise NoPrediction("the model failed", received=cause(error)) from error
        # The key comes first, as readers look for it.
        ordered = sorted(outputs, key=lambda name: (name != "key", name))
        return {name: self._plain(name, outputs[name]) for name in ordered if keyed or name != "key"}

    def _call(self, columns: Columns) -> Columns:
        """One call, of rows of one shape."""
        tensors = {name: _tensor(columns[name], dtype) for name, dtype in self._dtypes.items()}
        outputs = {name: _array(tensor) for name, tensor in self._model({**tensors, **self._constants}).items()}
        try:
            check_answers(outputs, len(next(iter(columns.values()))))
        except DataError as error:
            # The request is valid: the model is at fault.
            raise PlatformError(
                error.what, where=error.where, expected=error.expected, received=error.received
            ) from error
        return outputs

    def _tried(self, takes: Takes) -> Takes:
        """Calls a model of which no rows are known, by which outputs of bytes are told from those of text.

        Raises:
            DataError: it takes a fixed number of rows, which copies of others could not fill up.
        """

        def call(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
            return self._model({**tensors, **self._constants})

        rows = trial_rows(takes)
        if takes.batch is None:
            # A request is one call, so that its rows may depend on each other.
            answers = answers_to(call, rows, None)
        else:
            companions = trial_rows(takes, companions=True)
            answers = check_independence(call, rows, companions, takes.batch, self._model.path)
        return with_binary(takes, answers, lambda: self._model.graph.makes_bytes())

    def _plain(self, name: str, output: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return _as_base64(output) if name in self._binary else output


def _declared(source: Source, declared: Interface, inputs: dict[str, tf.TensorSpec]) -> Interface:
    """The interface that the artifact declares, checked against the signature."""
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
    wanted = {i.name: str(i.kind) for i in declared.inputs}
    if wanted != features or takes_key != declared.takes_key:
        raise DataError(
            "the SavedModel and schema.json of the Model disagree",
            where=source.saved_model,
            expected=_list(wanted) + (", key" if declared.takes_key else ""),
            received=_list(features) + (", key" if takes_key else ""),
        )
    return declared


def _tensor(column: npt.NDArray[Any], dtype: tf.DType) -> Any:
    if dtype != tf.string:
        return tf.cast(tf.constant(column), dtype)
    return tf.constant(column, dtype) if column.size else tf.fill(column.shape, "")


def _array(tensor: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()
    return values


def _as_base64(output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bytes as JSON has them; lists of several lengths are an array a row."""
    encoded = np.empty(output.shape, object)
    for at, value in np.ndenumerate(output):
        encoded[at] = _as_base64(value) if isinstance(value, np.ndarray) else {"b64": base64.b64encode(value).decode()}
    return encoded


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
