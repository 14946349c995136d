"""A SavedModel, loaded and called: what scoring in batches and the online server share of TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.saved_model.input_names import names_of_arguments
from headrace.core.saved_model.interface import DTYPES, SERVING_DEFAULT, ModelInput, ModelOutput, Takes

OpError = tf.errors.OpError
# What says nothing about the rows: the device or the process is in trouble.
PLATFORM_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
)
# Fewer rows may still find the memory.
TOO_LARGE = tf.errors.ResourceExhaustedError


class SavedModel:
    """A loaded SavedModel and one of its signatures; safe to call from several threads at a time.

    Attributes:
        path: its folder.
        inputs: the signature's TensorSpecs by name.
        outputs: likewise.
    """

    def __init__(self, path: str, signature: str = SERVING_DEFAULT) -> None:
        """Loads it.

        Raises:
            DataError: it cannot be loaded, or has no such signature.
        """
        self.path = path
        self.signature = signature
        try:
            # The loaded object must live as long as its signature is used.
            self._loaded = tf.saved_model.load(path)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise DataError(
                "the SavedModel cannot be loaded", where=path, received=str(error).splitlines()[0]
            ) from error
        signatures = getattr(self._loaded, "signatures", {})
        if signature not in signatures:
            raise DataError(
                "the SavedModel does not say how to predict",
                where=path,
                expected=f"a signature {signature}",
                received=", ".join(sorted(signatures)) or "no signature",
                fix="Name one of them" if signatures else None,
            )
        self._call = signatures[signature]
        specs: dict[str, tf.TensorSpec] = self._call.structured_input_signature[1]
        names = names_of_arguments(storage.local_path(path), signature, specs)
        self._arguments = {name: argument for argument, name in names.items()}
        self.inputs: dict[str, tf.TensorSpec] = {name: specs[argument] for argument, name in names.items()}
        self.outputs: dict[str, tf.TensorSpec] = self._call.structured_outputs

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Calls the signature.

        Args:
            tensors: one for each input, of its dtype.

        Returns:
            A tensor for each output.

        Raises:
            OpError: the model failed.
        """
        outputs: dict[str, Any] = self._call(**{self._arguments[name]: each for name, each in tensors.items()})
        return outputs

    @property
    def signatures(self) -> Mapping[str, Any]:
        """All signatures of the SavedModel, by name, as ConcreteFunctions that live as long as this object."""
        signatures: Mapping[str, Any] = self._loaded.signatures
        return signatures

    def takes(self) -> Takes:
        """What can be fed from columns: each input from the column of its name.

        Raises:
            DataError: an input or an output is ragged, sparse, of unknown rank, of more than two dimensions, of a
                fixed number of rows, or of a dtype that no column holds.
        """
        self._refuse_composite()
        inputs = [self._input(name, spec) for name, spec in sorted(self.inputs.items())]
        outputs = [self._output(name, spec) for name, spec in sorted(self.outputs.items())]
        return Takes(self.signature, tuple(inputs), tuple(outputs))

    def _refuse_composite(self) -> None:
        """Refuses ragged and sparse inputs, which a signature shows as the dense tensors that they are made of."""
        parts = [name for name in self.inputs if f"{name}_1" in self.inputs]
        if not parts:
            return
        found = composite_inputs(self.path, self.signature, frozenset(self._arguments.values()))
        if found is not None:
            raise _unfit(f"{self.path}, {self.signature}", f'input "{parts[0]}"', found)

    def _input(self, name: str, spec: Any) -> ModelInput:
        dtype, width = self._checked(f'input "{name}"', spec)
        return ModelInput(name, dtype, width, (name,))

    def _output(self, name: str, spec: Any) -> ModelOutput:
        dtype, width = self._checked(f'output "{name}"', spec)
        return ModelOutput(name, dtype, None if width == 1 else width)

    def _checked(self, what: str, spec: Any) -> tuple[str, int | None]:
        """The dtype, and the width if it has one."""
        received = None
        if not isinstance(spec, tf.TensorSpec):
            received = f"a {type(spec).__name__.removesuffix('TensorSpec').lower()} tensor"
        elif spec.shape.rank is None:
            received = f"{spec.dtype.name} of unknown rank"
        elif spec.shape.rank not in (1, 2) or spec.shape[0] is not None or spec.shape.as_list()[1:] == [0]:
            received = f"{spec.dtype.name} of shape {spec.shape}"
        elif spec.dtype.name not in DTYPES:
            received = f"dtype {spec.dtype.name}"
        if received is not None:
            raise _unfit(f"{self.path}, {self.signature}", what, received)
        return spec.dtype.name, None if spec.shape.rank == 1 else spec.shape[1] or 0


def _unfit(where: str, what: str, received: str) -> DataError:
    return DataError(
        f"the signature's {what} cannot be held against columns",
        where=where,
        expected="one value a row (shape [None]) or as many for every row (shape [None, n]), "
        "of numbers, booleans or strings",
        received=received,
        fix="Export a signature that takes and gives such tensors, and reshapes them inside",
    )


def composite_inputs(path: str, signature: str, inputs: frozenset[str]) -> str | None:
    """Whether the function behind a signature takes a ragged or a sparse tensor, which only the file still says.

    Args:
        path: of the SavedModel.
        signature: its name.
        inputs: the names of the signature's arguments.

    Returns:
        Which of them it is, or None.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((storage.local_path(path) / "saved_model.pb").read_bytes())
    graph = next((g for g in saved.meta_graphs if signature in g.signature_def), None)
    if graph is None:
        return None
    if any(info.WhichOneof("encoding") != "name" for info in graph.signature_def[signature].inputs.values()):
        return "a ragged or a sparse tensor"
    objects = graph.object_graph_def
    wrappers = {
        node.bare_concrete_function.concrete_function_name
        for node in objects.nodes
        if node.WhichOneof("kind") == "bare_concrete_function"
        and frozenset(node.bare_concrete_function.argument_keywords) == inputs
    }
    # A signature calls the function that was exported, of which the specification is kept as it was.
    called = {
        attribute.func.name
        for function in graph.graph_def.library.function
        if function.signature.name in wrappers
        for node in function.node_def
        for attribute in node.attr.values()
    }
    for name in sorted((called | wrappers) & set(objects.concrete_functions)):
        specification = str(objects.concrete_functions[name].canonicalized_input_signature)
        for kind in ("ragged", "sparse"):
            if f"{kind.upper()}_TENSOR_SPEC" in specification:
                return f"a {kind} tensor"
    return None


def check_answers(outputs: Mapping[str, Any], rows: int) -> None:
    """Raises DataError for outputs that are not one answer a row: tensors, or numpy arrays."""
    for name, answers in outputs.items():
        shape = list(answers.shape)
        if not shape or shape[0] != rows:
            raise DataError(
                "the model did not answer every row",
                where=f"output {name}",
                expected=f"{rows} rows",
                received=f"shape {shape}",
            )


def cause(error: tf.errors.OpError) -> str:
    """The line of TensorFlow's message that says what happened: the last one before where in the graph it did."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    said = [line for line in lines if line and not line.startswith("[[")]
    return said[-1] if said else type(error).__name__


def configure(intra_op_threads: int | None) -> None:
    """Sets how many threads an operation may use, and lets a GPU be shared; once TensorFlow has started, it is late.

    Args:
        intra_op_threads: None leaves TensorFlow's choice, all cores.
    """
    try:
        if intra_op_threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        for device in tf.config.list_physical_devices("GPU"):
            # Several workers of a machine may share it; by default the first one takes all of its memory.
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        return
