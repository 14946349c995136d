"""Signature graph, read from a SavedModel's file: which operations use an input, and which outputs repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

from headrace.core import storage
from headrace.core.errors import DataError

_SERVE = "serve"
# Operations that pass a tensor on unchanged, and calls of functions.
_COPIES = ("Identity", "IdentityN", "PlaceholderWithDefault")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Operations that parse serialized tf.train.Examples.
PARSERS = frozenset({"ParseExample", "ParseExampleV2", "ParseSingleExample"})

# Operations that make bytes that are not text.
_ENCODERS = frozenset(
    {"EncodePng", "EncodeJpeg", "EncodeJpegVariableQuality", "EncodeWav", "EncodeProto", "EncodeProtoV2"}
    | {"SerializeTensor", "SerializeSparse", "SerializeManySparse", "DecodeBase64", "DecodeCompressed"}
)

# A tensor: the name of its node or argument, and its output index.
_Tensor = tuple[str, int]


@dataclass(frozen=True)
class InputUses:
    """The uses of an input.

    Attributes:
        ops: types of the operations that compute with it.
        outputs: the outputs of the signature that repeat it unchanged.
    """

    ops: frozenset[str]
    outputs: frozenset[str]


class SignatureGraph:
    """A signature in the file of a SavedModel of TensorFlow 1 or 2.

    Attributes:
        tags: tags of its graph; None where the SavedModel has only one graph.
        meta_graph: the MetaGraphDef in the file.
        signature: its name.
    """

    def __init__(self, path: str, signature: str) -> None:
        """Reads `saved_model.pb`.

        Args:
            path: folder of the SavedModel.
            signature: selects the graph that has it; among several, the graph tagged for serving.

        Raises:
            DataError: there are several graphs, none of them tagged for serving.
        """
        self.signature = signature
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((storage.local_path(path) / "saved_model.pb").read_bytes())
        graphs = list(saved.meta_graphs)
        if len(graphs) > 1:
            serving = [graph for graph in graphs if _SERVE in graph.meta_info_def.tags]
            with_it = [graph for graph in serving if signature in graph.signature_def] or serving
            if not with_it:
                raise DataError(
                    "none of the SavedModel's graphs is tagged for serving",
                    where=path,
                    expected=f"the tag {_SERVE}",
                    received="; ".join(", ".join(graph.meta_info_def.tags) for graph in graphs),
                )
            # A graph with fewer device tags runs wherever the others do.
            graphs = sorted(with_it, key=lambda graph: len(graph.meta_info_def.tags))
            self.tags: list[str] | None = list(graphs[0].meta_info_def.tags)
        else:
            self.tags = None
        self.meta_graph: Any = graphs[0] if graphs else None

    @property
    def definition(self) -> Any:
        """The SignatureDef; None where the name does not exist."""
        # Indexing a protobuf map creates a missing entry.
        known = self.meta_graph is not None and self.signature in self.meta_graph.signature_def
        return self.meta_graph.signature_def[self.signature] if known else None

    def uses(self, name: str) -> InputUses:
        """The uses of the input `name`, a dense tensor of the signature."""
        start = _tensor(self.definition.inputs[name].name)
        ops, reached = self._follow(_Body(self.meta_graph.graph_def.node), start, frozenset())
        outputs = {n for n, info in self.definition.outputs.items() if _tensor(info.name) in reached}
        return InputUses(frozenset(ops), frozenset(outputs))

    def parses_examples(self, name: str) -> bool:
        """Whether the input `name` is serialized tf.train.Examples, which the model parses."""
        return bool(self.uses(name).ops & PARSERS)

    def makes_bytes(self) -> bool:
        """Whether an operation of the SavedModel makes bytes that are not text, such as an image."""
        graph = self.meta_graph.graph_def
        nodes = (node for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes)
        return any(node.op in _ENCODERS for node in nodes)

    @cached_property
    def _functions(self) -> Mapping[str, Any]:
        return {function.signature.name: function for function in self.meta_graph.graph_def.library.function}

    def _follow(self, body: _Body, start: _Tensor, within: frozenset[str]) -> tuple[set[str], set[_Tensor]]:
        """The operations that use a tensor of a body, and all tensors equal to it."""
        ops: set[str] = set()
        reached, ahead = {start}, [start]
        while ahead:
            for node, at in body.users(ahead.pop()):
                same: list[int] = []
                if node.op in _COPIES:
                    same = [at]
                elif node.op in _CALLS and (called := node.attr["f"].func.name) in self._functions:
                    inner, same = self._through(called, at, within)
                    ops |= inner
                else:
                    ops.add(node.op)
                new = {(node.name, output) for output in same} - reached
                reached |= new
                ahead += new
        return ops, reached

    def _through(self, called: str, at: int, within: frozenset[str]) -> tuple[set[str], list[int]]:
        """The operations of a function that use its argument `at`, and the outputs that repeat it."""
        function = self._functions[called]
        if called in within:
            return {"recursion"}, []
        start = (function.signature.input_arg[at].name, 0)
        ops, reached = self._follow(_Body(function.node_def), start, within | {called})
        returned = [_tensor(function.ret[output.name]) for output in function.signature.output_arg]
        return ops, [output for output, tensor in enumerate(returned) if tensor in reached]


class _Body:
    """The nodes of a graph or a function, by their inputs."""

    def __init__(self, nodes: Iterable[Any]) -> None:
        self._users: dict[_Tensor, list[tuple[Any, int]]] = {}
        for node in nodes:
            for at, given in enumerate(node.input):
                if not given.startswith("^"):
                    self._users.setdefault(_tensor(given), []).append((node, at))

    def users(self, tensor: _Tensor) -> Sequence[tuple[Any, int]]:
        return self._users.get(tensor, ())


def _tensor(name: str) -> _Tensor:
    """Parses "node", "node:output" (graphs), and "node:name:output" (functions)."""
    node, *rest = name.split(":")
    return node, int(rest[-1]) if rest else 0
