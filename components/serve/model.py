"""A SavedModel that predicts from columns: the only module of serving that imports TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.errors import DataError, PlatformError
from headrace.components.serve.converter import Columns, Input, Interface, columns_from_instances
from headrace.components.serve.source import Source

SIGNATURE = "serving_default"
_KINDS = {tf.float32: "numeric", tf.float64: "numeric", tf.string: "categorical"}


class Model:
    """A loaded model; safe to call from several threads at a time.

    Attributes:
        name: what it is called in URLs.
        version: what responses say answered.
        interface: what it takes.
        signature_def: inputs and outputs as TensorFlow Serving's metadata shows them.
    """

    def __init__(self, source: Source) -> None:
        """Loads the SavedModel of `source` and makes a first prediction.

        Raises:
            DataError: it cannot be loaded, or does not take one value a row by name.
            PlatformError: its first prediction failed.
        """
        self.name = source.name
        self.version = source.version
        # The loaded object must live as long as its signature is used.
        self._loaded, self._signature = _load(source.saved_model)
        inputs: dict[str, tf.TensorSpec] = self._signature.structured_input_signature[1]
        self._dtypes = {name: spec.dtype for name, spec in inputs.items()}
        self.interface = _interface(source, inputs)
        self.signature_def = {
            "inputs": {name: _tensor_info(spec) for name, spec in inputs.items()},
            "outputs": {name: _tensor_info(spec) for name, spec in self._signature.structured_outputs.items()},
            "method_name": "tensorflow/serving/predict",
        }
        if source.warm_up:
            self.predict(columns_from_instances(source.warm_up, self.interface))

    def predict(self, columns: Columns) -> Columns:
        """Predictions for columns of one length, as the converter makes them.

        Args:
            columns: a column for each feature; `key` may be absent where the model takes one.

        Returns:
            Each output by name, [rows, ...]; `key` only if it came in.

        Raises:
            PlatformError: the model failed, or did not answer every row.
        """
        rows = len(next(iter(columns.values())))
        keyed = "key" in columns or not self.interface.takes_key
        if not keyed:
            columns = {**columns, "key": np.full(rows, "", dtype=object)}
        try:
            tensors = {name: tf.constant(columns[name], dtype=dtype) for name, dtype in self._dtypes.items()}
            outputs = {name: tensor.numpy() for name, tensor in self._signature(**tensors).items()}
        except tf.errors.OpError as error:
            raise PlatformError("the model failed", received=_cause(error)) from error
        for name, column in outputs.items():
            if column.ndim == 0 or len(column) != rows:
                raise PlatformError(
                    "the model did not answer every row",
                    where=f"output {name}",
                    expected=f"{rows} rows",
                    received=f"shape {list(column.shape)}",
                )
        # The key says which row it is: people read it first.
        ordered = sorted(outputs, key=lambda name: (name != "key", name))
        return {name: outputs[name] for name in ordered if keyed or name != "key"}


def _load(path: str) -> tuple[Any, Any]:
    try:
        loaded = tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DataError("the SavedModel cannot be loaded", where=path, received=str(error).splitlines()[0]) from error
    signature = loaded.signatures.get(SIGNATURE)
    if signature is None:
        raise DataError(
            "the SavedModel does not say how to predict",
            where=path,
            expected=f"a signature {SIGNATURE}",
            received=", ".join(sorted(loaded.signatures)) or "no signature",
        )
    return loaded, signature


def _interface(source: Source, inputs: dict[str, tf.TensorSpec]) -> Interface:
    """The interface that the artifact declares, checked against the signature; else what the signature says."""
    kinds = {}
    for name, spec in inputs.items():
        if spec.dtype not in _KINDS or spec.shape.rank != 1:
            raise DataError(
                "the signature's input is of a kind that is not served",
                where=f"{source.saved_model}, {name}",
                expected="float32, float64 or string of shape [None]: one value a row",
                received=f"{spec.dtype.name} of shape {spec.shape}",
            )
        kinds[name] = _KINDS[spec.dtype]
    takes_key = kinds.get("key") == "categorical"
    features = {name: kind for name, kind in kinds.items() if name != "key" or not takes_key}
    declared = source.interface
    if declared is None:
        return Interface(
            tuple(Input(name, "numeric" if kind == "numeric" else "categorical") for name, kind in features.items()),
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


def _cause(error: tf.errors.OpError) -> str:
    """The line of TensorFlow's message that says what happened: the last one before where in the graph it did."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    said = [line for line in lines if line and not line.startswith("[[")]
    return said[-1] if said else type(error).__name__


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
