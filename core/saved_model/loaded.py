"""SavedModel loading and calling: the TensorFlow code that batch scoring and the online server share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from headrace.core.errors import DataError
from headrace.core.saved_model.graph import SignatureGraph
from headrace.core.saved_model.input_names import names_of_arguments
from headrace.core.saved_model.interface import SERVING_DEFAULT, Constant, ModelBinding
from headrace.core.saved_model.signature_specs import takes_of

OpError = tf.errors.OpError
# Errors of the device or the process, not of the rows.
PLATFORM_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
)
# Fewer rows may still fit into memory.
TOO_LARGE = tf.errors.ResourceExhaustedError
# Functions of the graph that a message of a session begins with.
_PLACES = re.compile(r"\A(\{\{[^{}]*\}\}\s*)+")


class SavedModel:
    """A loaded SavedModel and one of its signatures; safe to call from several threads at a time.

    Attributes:
        path: the SavedModel's folder.
        inputs: the signature's TensorSpecs by name.
        outputs: the signature's TensorSpecs by name; symbolic tensors where TensorFlow 1 wrote the SavedModel.
    """

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    _arguments: Mapping[str, str]

    def __init__(self, path: str, signature: str = SERVING_DEFAULT, *, like: SavedModel | None = None) -> None:
        """Loads the SavedModel.

        Args:
            path: its folder.
            signature: of the SavedModel.
            like: another version of the model. Where the signature takes and returns the same, the load waits until
                the SavedModel is called, and may fail then.

        Raises:
            DataError: it cannot be loaded, or the signature does not exist.
        """
        self.path = path
        self.signature = signature
        with _load_errors(path):
            graph = self.graph
        self._interface = _interface_of(graph.definition)
        if like is not None and self._interface and like._interface == self._interface:
            self._arguments, self.inputs, self.outputs = like._arguments, like.inputs, like.outputs
            return
        specs: dict[str, tf.TensorSpec] = self._call.structured_input_signature[1]
        names = names_of_arguments(graph, specs)
        self._arguments = {name: argument for argument, name in names.items()}
        self.inputs = {name: specs[argument] for argument, name in names.items()}
        self.outputs = self._call.structured_outputs

    @cached_property
    def _loaded(self) -> Any:
        """The loaded object, which must live as long as its signature is used."""
        with _load_errors(self.path):
            return tf.saved_model.load(self.path, self.graph.tags)

    @cached_property
    def _call(self) -> Any:
        """The signature."""
        signatures = getattr(self._loaded, "signatures", {})
        if self.signature not in signatures:
            raise DataError(
                "the SavedModel does not have the signature",
                where=self.path,
                expected=f"a signature {self.signature}",
                received=", ".join(sorted(signatures)) or "no signature",
                fix="Choose one of them with --signature" if signatures else None,
            )
        return signatures[self.signature]

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Calls the signature.

        Args:
            tensors: one per input, of its dtype.

        Returns:
            A tensor per output.

        Raises:
            OpError: the model failed.
        """
        outputs: dict[str, Any] = self._call(**{self._arguments[name]: each for name, each in tensors.items()})
        return outputs

    def load(self) -> None:
        """Loads what a call needs; raises DataError where that fails."""
        _ = self._call

    def unload(self) -> None:
        """Frees what only a call needs; the next one loads it again."""
        for name in ("_call", "_loaded"):
            self.__dict__.pop(name, None)

    @property
    def graph(self) -> SignatureGraph:
        """The signature's graph, read from the file each time: a graph that contains its weights may be large."""
        return SignatureGraph(self.path, self.signature)

    @property
    def root(self) -> Any:
        """The loaded object, which holds the variables of the signatures."""
        return self._loaded

    @property
    def signatures(self) -> Mapping[str, Any]:
        """All signatures of the SavedModel, by name, as ConcreteFunctions that live as long as this object."""
        signatures: Mapping[str, Any] = self._loaded.signatures
        return signatures

    def takes(self, *, any_outputs: bool = False) -> ModelBinding:
        """The interface to columns: each input is fed from the column of its name.

        Args:
            any_outputs: outputs of unknown rank, which JSON may hold, are left out instead of refused.

        Raises:
            DataError: columns cannot hold an input or an output; see `signature_specs`.
        """
        where = f"{self.path}, {self.signature}"
        return takes_of(where, self.graph, self.inputs, self.outputs, self._arguments.values(), any_outputs=any_outputs)


@contextmanager
def _load_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, DecodeError, tf.errors.OpError) as error:
        raise DataError(
            "the SavedModel cannot be loaded",
            where=path,
            received=next(iter(str(error).splitlines()), type(error).__name__),
        ) from error


def _interface_of(definition: Any) -> tuple[Any, ...]:
    """What a SignatureDef takes and returns: names, types and shapes."""
    if definition is None:
        return ()
    both = definition.inputs, definition.outputs
    return tuple(
        sorted((name, info.dtype, info.tensor_shape.SerializeToString()) for name, info in tensors.items())
        for tensors in both
    )


def constant_tensors(constants: Iterable[Constant]) -> dict[str, Any]:
    """The tensors of inputs that are one value for a whole call, by name."""
    return {c.name: tf.constant(c.value, c.dtype) for c in constants}


def check_answers(outputs: Mapping[str, Any], rows: int) -> None:
    """Raises DataError for outputs (tensors or numpy arrays) without exactly one prediction per row."""
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
    """The line of TensorFlow's message that states the error: the last one before the place in the graph."""
    lines = [_PLACES.sub("", line.strip()) for line in str(error.message).splitlines()]
    said = [line for line in lines if line and not line.startswith("[[")]
    return said[-1] if said else type(error).__name__


def configure(intra_op_threads: int | None) -> None:
    """Sets the number of threads per operation, and lets a GPU be shared; has no effect once TensorFlow has started.

    Args:
        intra_op_threads: None leaves TensorFlow's choice, all cores.
    """
    try:
        if intra_op_threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        for device in tf.config.list_physical_devices("GPU"):
            # Workers of one machine may share the GPU; by default the first one reserves all of its memory.
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        return
