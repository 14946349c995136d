"""Session engine: a signature as one step of a TensorFlow session, in the thread that calls it.

An eager call of a signature has fixed costs of some 0.8 ms, more than the operations of a small model take: a tensor
object per input and output, the runtime of functions, and threads for operations side by side. A callable of a session
takes and returns numpy arrays, and runs the operations in the caller's thread; TensorFlow Serving calls models in this
way, too. The graph is not optimized: fused operations would round otherwise than those of an eager call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.core.scoring.online.beside import at_low_priority
from headrace.core.scoring.online.engine import Unsuitable

if TYPE_CHECKING:
    from headrace.core.saved_model.loaded import SavedModel

# The session has variables and vocabularies of its own. Beside the time that more of them take in a call, what a
# session saves is little.
MAX_BYTES = 256 << 20
_INIT = "__saved_model_init_op"
_IN_CALLERS_THREAD = -1
# Attributes in which versions of a model with the same operations differ.
_OF_VERSION = frozenset({"value", "shape", "_output_shapes", "shared_name", "container", "config_proto"})


class SessionModel:
    """A signature of a SavedModel in a session of its own; safe to call from several threads at a time.

    Args:
        model: the loaded SavedModel, whose files are at hand.
        inputs: names of the inputs that a call passes.
        outputs: names of the outputs.
        constants: the tensors of further inputs, by name.
        beside: whether another model answers meanwhile, which loading and the first call give way to.

    Attributes:
        operations: digest of the operations, in their order and with their attributes, but not of constants.

    Raises:
        Unsuitable: a session does not serve it.
    """

    def __init__(
        self,
        model: SavedModel,
        inputs: Sequence[str],
        outputs: Sequence[str],
        constants: Mapping[str, Any],
        *,
        beside: bool = False,
    ) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import config_pb2

        if tf.config.get_visible_devices("GPU"):
            raise Unsuitable("it may use a GPU")
        size = sum(path.stat().st_size for path in Path(model.path).rglob("*") if path.is_file())
        if size > MAX_BYTES:
            raise Unsuitable(f"it has more than {MAX_BYTES >> 20} MiB")
        source = model.graph
        meta, signature = source.meta_graph, source.definition
        if signature is None or _INIT not in meta.signature_def:
            raise Unsuitable("TensorFlow 1 wrote it")
        self._first = beside
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._constants = tuple(tensor.numpy() for tensor in constants.values())
        feeds = [signature.inputs[name].name for name in (*inputs, *constants)]
        fetches = [signature.outputs[name].name for name in outputs]
        if not all((*feeds, *fetches)):
            raise Unsuitable("an input or an output is no dense tensor")
        config = config_pb2.ConfigProto(
            allow_soft_placement=True,
            inter_op_parallelism_threads=_IN_CALLERS_THREAD,
            intra_op_parallelism_threads=tf.config.threading.get_intra_op_parallelism_threads(),
        )
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        options.run_options.inter_op_thread_pool = _IN_CALLERS_THREAD
        try:
            steps = _steps(meta, Path(model.path))
            ends = [*feeds, *fetches, *(name for target, files in steps for name in (target, *files))]
            needed = _needed(meta.graph_def, ends)
            self.operations = _digest(needed)
            for node in _nodes(needed):
                if "config_proto" in node.attr:
                    # Else a function of the graph is optimized when it is first called, for as long as a load takes.
                    node.attr["config_proto"].s = config.SerializeToString()
            with tf.Graph().as_default() as graph:
                tf.graph_util.import_graph_def(needed, name="")
                session = tf.compat.v1.Session(graph=graph, config=config)

            def prepare() -> Callable[..., Sequence[Any]]:
                for target, files in steps:
                    session.run(target, files)
                # The public `make_callable` compares names and shapes of all inputs in each call, for 0.4 ms. Without
                # this method, a model is called as before.
                made: Callable[..., Sequence[Any]] = session._make_callable_from_options(options)
                return made

            self._call = at_low_priority(prepare) if beside else prepare()
        except (tf.errors.OpError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise Unsuitable(f"a session cannot load it: {reason}") from error

    def __call__(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Calls the signature.

        Args:
            columns: an array per input, of its dtype; texts are objects.

        Returns:
            An array per output; texts are objects of bytes.

        Raises:
            OpError: the model failed.
        """
        arrays = [*(columns[name] for name in self._inputs), *self._constants]
        if self._first:
            # It makes the kernels, for as long as hundreds of calls take.
            self._first = False
            found = at_low_priority(lambda: self._call(*arrays))
        else:
            found = self._call(*arrays)
        return dict(zip(self._outputs, map(np.asarray, found), strict=True))


def _steps(meta: Any, folder: Path) -> list[tuple[str, dict[str, str]]]:
    """The operations that read the variables and fill the tables, each with the names of its files by input."""
    saver = meta.saver_def
    prefix = folder / "variables" / "variables"
    steps = []
    if saver.restore_op_name and prefix.with_suffix(".index").exists():
        steps.append((saver.restore_op_name, {saver.filename_tensor_name: str(prefix)}))
    assets = {asset.tensor_info.name: str(folder / "assets" / asset.filename) for asset in meta.asset_file_def}
    return [*steps, (meta.signature_def[_INIT].outputs[_INIT].name, assets)]


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _digest(graph: Any) -> str:
    found = hashlib.sha256()
    for node in _nodes(graph):
        attributes = {name: value for name, value in node.attr.items() if name not in _OF_VERSION}
        plain = [(name, value.SerializeToString()) for name, value in sorted(attributes.items()) if not _names(value)]
        found.update(repr((node.op, len(node.input), plain)).encode())
    return found.hexdigest()


def _needed(graph: Any, names: Iterable[str]) -> Any:
    """The part of a GraphDef that computes some operations and tensors: other signatures take as long to load."""
    by_name = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}
    ahead, kept = [name.partition(":")[0] for name in names], set[str]()
    while ahead:
        name = ahead.pop()
        if name not in kept:
            kept.add(name)
            ahead += [given.lstrip("^").partition(":")[0] for given in by_name[name].input]
    needed = type(graph)(versions=graph.versions, node=[node for node in graph.node if node.name in kept])
    called, ahead = set[str](), _called(needed.node)
    while ahead:
        name = ahead.pop()
        if name in functions and name not in called:
            called.add(name)
            ahead += _called(functions[name].node_def)
    needed.library.function.extend(functions[name] for name in sorted(called))
    needed.library.gradient.extend(g for g in graph.library.gradient if g.function_name in called)
    return needed


def _called(nodes: Iterable[Any]) -> list[str]:
    """The functions that nodes call."""
    found = [name for node in nodes for value in node.attr.values() for name in _names(value)]
    # TensorFlow 1 calls a function by an operation of its name.
    return [*found, *(node.op for node in nodes)]


def _names(value: Any) -> list[str]:
    """The functions in an attribute."""
    return [function.name for function in (value.func, *value.list.func) if function.name]
