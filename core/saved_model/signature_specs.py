"""Signature specs: the tensors of a signature as inputs and outputs of columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from headrace.core.errors import DataError
from headrace.core.saved_model.graph import SignatureGraph
from headrace.core.saved_model.interface import (
    DTYPES,
    KEY,
    Constant,
    KeyUse,
    ModelBinding,
    ModelInput,
    ModelOutput,
    is_bytes,
    is_key,
)
from headrace.core.tfrecord import EXAMPLE_COLUMN

Specs = Mapping[str, Any]

_ROWS = (
    "one value per row (shape [None]), or lists of them (shape [None, n], [None, None, m] and so on), of numbers, "
    "booleans or strings"
)


def takes_of(
    where: str,
    graph: SignatureGraph,
    inputs: Specs,
    outputs: Specs,
    arguments: Iterable[str],
    *,
    any_outputs: bool = False,
) -> ModelBinding:
    """The interface to columns: each input is fed from the column of its name, serialized Examples from whole records.

    Args:
        where: the SavedModel and the signature, for messages.
        graph: the signature's graph.
        inputs: TensorSpecs by name.
        outputs: TensorSpecs by name.
        arguments: TensorFlow's argument names of the inputs.
        any_outputs: outputs of unknown rank, or of texts with several open dimensions, are left out instead of refused:
            JSON may hold them.

    Raises:
        DataError: an input or an output is ragged, sparse, of unknown rank, has another number of rows than the others,
            or has a dtype that columns cannot hold.
    """
    _refuse_composite(where, graph, inputs, frozenset(arguments))
    constants, fed = [], []
    for name, spec in sorted(inputs.items()):
        dtype, shape = _checked(where, f'input "{name}"', spec)
        if shape:
            fed.append((name, dtype, shape))
        else:
            constants.append(Constant(name, dtype))
    if not fed:
        raise DataError(
            "the signature reads no rows",
            where=where,
            expected=f"an input of {_ROWS}",
            received=", ".join(f"{c.name} {c.dtype} of shape []" for c in constants) or "no input",
        )
    batch = _batch(where, fed)
    given = []
    for name, spec in sorted(outputs.items()):
        if not any_outputs or not _is_open(spec):
            given.append(_output(where, name, spec, batch))
    taken = [ModelInput(name, dtype, _width(shape), (name,), dims=_dims(shape)) for name, dtype, shape in fed]
    if len(taken) == 1 and (taken[0].dtype, taken[0].width) == ("string", None):
        only = taken[0]
        if graph.parses_examples(only.name):
            taken = [ModelInput(only.name, only.dtype, None, (EXAMPLE_COLUMN,))]
    use = _key_use(graph) if is_key(taken, given) else ""
    return ModelBinding(
        graph.signature, tuple(taken), tuple(given), key_use=use, constants=tuple(constants), batch=batch
    )


def _is_open(spec: Any) -> bool:
    """Whether an output is dense, and of an unknown rank, or of texts with several open dimensions."""
    if not isinstance(spec, tf.TensorSpec | tf.Tensor) or spec.dtype.name not in DTYPES:
        return False
    return spec.shape.rank is None or (spec.dtype == tf.string and spec.shape.as_list()[1:].count(None) > 1)


def _output(where: str, name: str, spec: Any, batch: int | None) -> ModelOutput:
    dtype, shape = _checked(where, f'output "{name}"', spec)
    if not shape:
        return ModelOutput(name, dtype, None, is_bytes(name, dtype), per_call=True)
    if shape[0] not in (None, batch) or (dtype == "string" and shape[1:].count(None) > 1):
        raise _unfit(where, f'output "{name}"', f"{dtype} of shape {_shown(shape)}")
    width, dims = _width(shape), _dims(shape)
    listed = width == 1 and not dims
    return ModelOutput(name, dtype, None if listed else width, is_bytes(name, dtype), listed=listed, dims=dims)


def _key_use(graph: SignatureGraph) -> KeyUse:
    uses = graph.uses(KEY)
    if KEY not in uses.outputs:
        return ""
    return "repeats" if uses.ops or len(uses.outputs) > 1 else "passes"


def _batch(where: str, fed: list[tuple[str, str, list[int | None]]]) -> int | None:
    sizes = {shape[0] for _, _, shape in fed} - {None}
    if len(sizes) > 1:
        raise DataError(
            "the signature's inputs are of different numbers of rows",
            where=where,
            expected="one number of rows for all of them, or any",
            received=", ".join(f"{n} {d} of shape {_shown(s)}" for n, d, s in fed),
        )
    return next(iter(sizes), None)


def _width(shape: list[int | None]) -> int | None:
    return None if len(shape) == 1 else math.prod(size or 0 for size in shape[1:])


def _dims(shape: list[int | None]) -> tuple[int, ...]:
    return tuple(size or 0 for size in shape[1:]) if len(shape) > 2 else ()


def _checked(where: str, what: str, spec: Any) -> tuple[str, list[int | None]]:
    """The dtype and the shape."""
    if isinstance(spec, tf.Tensor):
        # Outputs of a SavedModel of TensorFlow 1.
        spec = tf.TensorSpec.from_tensor(spec)
    received = None
    if not isinstance(spec, tf.TensorSpec):
        received = f"a {type(spec).__name__.removesuffix('TensorSpec').removesuffix('Tensor').lower()} tensor"
    elif spec.shape.rank is None:
        received = f"{spec.dtype.name} of unknown rank"
    elif 0 in spec.shape.as_list():
        received = f"{spec.dtype.name} of shape {spec.shape}"
    elif spec.dtype.name not in DTYPES:
        received = f"dtype {spec.dtype.name}"
    if received is not None:
        raise _unfit(where, what, received)
    return spec.dtype.name, spec.shape.as_list()


def _shown(shape: list[int | None]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _unfit(where: str, what: str, received: str) -> DataError:
    return DataError(
        f"the signature's {what} cannot be mapped to columns",
        where=where,
        expected=_ROWS,
        received=received,
        fix="Export a signature that reads and returns such tensors, and reshapes, pads or densifies them inside",
    )


def _refuse_composite(where: str, graph: SignatureGraph, inputs: Specs, arguments: frozenset[str]) -> None:
    """Refuses ragged and sparse inputs, which a signature lists as their dense component tensors."""
    for name, info in sorted(graph.definition.inputs.items()):
        if info.WhichOneof("encoding") not in ("name", None):
            raise _unfit(where, f'input "{name}"', "a ragged or a sparse tensor")
    parts = [name for name in inputs if f"{name}_1" in inputs]
    found = _composite(graph, arguments) if parts else None
    if found is not None:
        raise _unfit(where, f'input "{parts[0]}"', found)


def _composite(graph: SignatureGraph, arguments: frozenset[str]) -> str | None:
    """Whether the function of a signature has a ragged or sparse argument, which only the file records."""
    objects = graph.meta_graph.object_graph_def
    wrappers = {
        node.bare_concrete_function.concrete_function_name
        for node in objects.nodes
        if node.WhichOneof("kind") == "bare_concrete_function"
        and frozenset(node.bare_concrete_function.argument_keywords) == arguments
    }
    # A signature calls the exported function, whose original argument specification is saved.
    called = {
        attribute.func.name
        for function in graph.meta_graph.graph_def.library.function
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
