"""Input names of a signature: any name, though TensorFlow passes inputs as arguments of a Python function.

An argument cannot be called `class` or `self`, and two of them must differ in more than case. An input with such a
name is exported under an alias, and renamed in the SignatureDef, which is what TensorFlow Serving, Vertex AI and
`headrace` read. In Python, `tf.saved_model.load(...).signatures[...]` is called with the alias.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorflow.core.protobuf import saved_model_pb2

from headrace.core.saved_model.graph import SignatureGraph

_ALIAS = "column_"


def argument_names(names: Iterable[str]) -> dict[str, str]:
    """The argument name of each input: its own name where that is a valid one.

    Args:
        names: names of the inputs, each once.
    """
    names = list(names)
    taken = {name.lower() for name in names}
    free = (alias for alias in (f"{_ALIAS}{number}" for number in range(2 * len(names))) if alias not in taken)
    found: dict[str, str] = {}
    lower: set[str] = set()
    for name in names:
        fits = name.isidentifier() and not keyword.iskeyword(name) and name != "self" and name.lower() not in lower
        found[name] = name if fits else next(free)
        lower.add(name.lower())
    return found


def rename_inputs(folder: Path, signature: str, arguments: Mapping[str, str]) -> None:
    """Renames the inputs of a SavedModel's signature from arguments to their names.

    Args:
        folder: the SavedModel, which was exported with the arguments.
        signature: the signature's name.
        arguments: the result of `argument_names`.
    """
    if all(name == argument for name, argument in arguments.items()):
        return
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        inputs = graph.signature_def[signature].inputs
        named = {name: inputs[argument].SerializeToString() for name, argument in arguments.items()}
        inputs.clear()
        for name, tensor in named.items():
            inputs[name].ParseFromString(tensor)
    path.write_bytes(saved.SerializeToString(deterministic=True))
    # It is a digest of the unchanged file; TensorFlow does not need it.
    (folder / "fingerprint.pb").unlink(missing_ok=True)


def names_of_arguments(graph: SignatureGraph, arguments: Iterable[str]) -> dict[str, str]:
    """The input name of each argument.

    Args:
        graph: the graph of the signature of any SavedModel.
        arguments: TensorFlow's argument names.
    """
    names = {argument: argument for argument in arguments}
    # TensorFlow 1 passes inputs by name.
    if graph.meta_graph.object_graph_def.nodes and any(argument.startswith(_ALIAS) for argument in names):
        for name, tensor in graph.definition.inputs.items():
            argument = tensor.name.removesuffix(":0").removeprefix(f"{graph.signature}_")
            if argument.startswith(_ALIAS) and argument in names:
                names[argument] = name
    return names
