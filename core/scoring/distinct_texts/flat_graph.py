"""The graph of a signature without the functions that it is wrapped in, to be looked at and copied from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.grappler import tf_optimizer

# State that is only read.
_READS = ("LookupTableFindV2", "ReadVariableOp", "ResourceGather")
# Functions that stay functions: their bodies would have to be looked at too.
_BRANCHES = ("Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


@dataclass(frozen=True)
class FlatGraph:
    """Operations without functions and without control dependencies, which only what keeps state needs.

    Attributes:
        graph: of operations.
        nodes: the same as NodeDefs, by name.
        captured: by the name of the placeholder for each, the tables, variables and constants that it uses; of numbers
            that are not whole, variables that hold them.
        outputs: its tensors by the names of the signature's outputs.
    """

    graph: Any
    nodes: Mapping[str, Any]
    captured: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @classmethod
    def of(cls, signature: Any) -> Self | None:
        """The graph of a ConcreteFunction; None where it does more than compute, or has branches or loops."""
        definition = _inlined(signature)
        if definition is None or any(_does_more(node) for node in definition.node):
            return None
        captures = signature.captured_inputs
        placeholders = signature.inputs[len(signature.inputs) - len(captures) :]
        captured = {inside.op.name: outside for inside, outside in zip(placeholders, captures, strict=True)}
        for node in definition.node:
            kept = [name for name in node.input if not name.startswith("^")]
            del node.input[:]
            node.input.extend(kept)
            # Where to run is not to depend on an operation that is cut off.
            node.attr.pop("_class", None)
            if node.name in captured:
                # A function takes what it captures without knowing its shape.
                node.attr["shape"].shape.CopyFrom(captured[node.name].shape.as_proto())
        for name, tensor in captured.items():
            if tensor.dtype.is_floating:
                # A constant would be folded: a division becomes a product, and the last bit of a prediction another.
                captured[name] = tf.Variable(tensor, trainable=False)
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(definition, name="")
        names = sorted(signature.structured_outputs)
        tensors = [graph.get_tensor_by_name(tensor.name) for tensor in signature.outputs]
        nodes = {node.name: node for node in definition.node}
        return cls(graph, nodes, captured, dict(zip(names, tensors, strict=True)))

    def vocabularies(self) -> dict[str, int]:
        """How many texts the tables have that placeholders are looked up in, by the placeholder's name."""
        sizes: dict[str, int] = {}
        for operation in self.graph.get_operations():
            if operation.type != "LookupTableFindV2":
                continue
            table, texts = (_origin(tensor) for tensor in operation.inputs[:2])
            if table in self.captured:
                size = int(tf.raw_ops.LookupTableSizeV2(table_handle=self.captured[table]))
                sizes[texts] = max(size, sizes.get(texts, 0))
        return sizes

    def copied(self, tensors: Iterable[Any], given: Mapping[str, Any]) -> list[Any]:
        """Copies what leads to some tensors into the function that is being traced.

        Args:
            tensors: of `graph`.
            given: by name, tensors that stand in the place of those of `graph`, and of all that leads to them.

        Returns:
            The copies of the tensors.
        """
        wanted = [tensor.name for tensor in tensors]
        chosen, ends = self.leading_to(wanted, given.keys())
        traced = tf.compat.v1.get_default_graph()
        stand = {name: tensor for name, tensor in given.items() if name in ends}
        for name in ends - stand.keys():
            captured = self.captured[name.removesuffix(":0")]
            stand[name] = captured.read_value() if isinstance(captured, tf.Variable) else traced.capture(captured)
        # Those that are wanted themselves may be nobody's input.
        inputs = {tensor.name for name in chosen for tensor in self.graph.get_operation_by_name(name).inputs}
        definition = tf.compat.v1.GraphDef(versions=self.graph.as_graph_def().versions)
        definition.node.extend(self.nodes[name] for name in chosen)
        copies = iter(
            tf.graph_util.import_graph_def(
                definition,
                input_map={name: tensor for name, tensor in stand.items() if name in inputs},
                return_elements=[name for name in wanted if name not in stand],
                name="",
            )
        )
        return [stand[name] if name in stand else next(copies) for name in wanted]

    def leading_to(self, wanted: Iterable[str], given: Collection[str]) -> tuple[list[str], set[str]]:
        """The operations that lead to tensors, and the tensors at which they begin: `given`, or captured.

        Args:
            wanted: names of tensors.
            given: names of tensors.
        """
        chosen: dict[str, None] = {}
        ends: set[str] = set()
        open_ones = list(wanted)
        while open_ones:
            name = open_ones.pop()
            operation = self.graph.get_tensor_by_name(name).op
            if name in given or operation.name in self.captured:
                ends.add(name)
            elif operation.name not in chosen:
                chosen[operation.name] = None
                open_ones += [tensor.name for tensor in operation.inputs]
        return list(chosen), ends


def _origin(tensor: Any) -> str:
    """The name of the operation that a tensor is passed on from."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return str(tensor.op.name)


def _inlined(signature: Any) -> Any:
    """The GraphDef in which each function stands where it is called; None where some would stay functions."""
    definition = signature.graph.as_graph_def()
    bodies = (function.node_def for function in definition.library.function)
    if any(node.op in _BRANCHES for nodes in (definition.node, *bodies) for node in nodes):
        return None
    meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=definition, graph=signature.graph)
    ends = meta_graph_pb2.CollectionDef()
    ends.node_list.value.extend(tensor.name for tensor in [*signature.inputs, *signature.outputs])
    # By this name Grappler is told what has to stay.
    meta_graph.collection_def["train_op"].CopyFrom(ends)
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.optimizers.append("function")
    options.function_optimization = rewriter_config_pb2.RewriterConfig.AGGRESSIVE
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _does_more(node: Any) -> bool:
    if node.op in _CALLS:
        return True
    definition = op_def_registry.get(node.op)
    return definition is None or (definition.is_stateful and node.op not in _READS)
