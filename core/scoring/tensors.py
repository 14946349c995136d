"""Arrow and numpy to tensors and back: a few operations a column, without a Python object for each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from headrace.core.saved_model.interface import ModelInput
from headrace.core.scoring.feeds import Feed

# What texts are joined by; one that holds it itself is found by the number of pieces, and goes the slow way.
_SEPARATOR = b"\0"


def tensors_of(feeds: Sequence[Feed], rows: int, filled: int, blank: str | None) -> dict[str, Any]:
    """What a signature is called with.

    Args:
        feeds: one for each input, each of `rows` rows, of which there is at least one.
        rows: how many.
        filled: rows of the tensors: the last one fills what is left.
        blank: an input that is given empty strings.
    """
    tensors: dict[str, Any] = {}
    for feed in feeds:
        taken = feed.taken
        if feed.numbers is not None:
            tensor = tf.constant(filled_up(feed.numbers, filled - rows))
            tensors[taken.name] = tf.cast(tensor, tf.bfloat16) if taken.dtype == "bfloat16" else tensor
        else:
            texts = [to_tensor(text, filled) for text in feed.texts]
            if taken.width is None:
                tensors[taken.name] = texts[0]
            else:
                tensors[taken.name] = tf.stack(texts, axis=1) if texts else tf.fill([filled, 0], "")
    if blank is not None:
        tensors[blank] = tf.fill([filled], "")
    return tensors


def filled_up(values: Any, more: int) -> Any:
    """An array with its last row repeated `more` times."""
    return np.concatenate([values, np.repeat(values[-1:], more, axis=0)]) if more else values


def to_tensor(texts: pa.Array, rows: int) -> Any:
    """Strings or binary, or either as a dictionary, as a string tensor.

    Args:
        texts: without null.
        rows: of the tensor, at least as many as there are texts: the last one fills the rest.

    Returns:
        [rows] strings.
    """
    more = rows - len(texts)
    if pa.types.is_dictionary(texts.type):
        indices = texts.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        if more:
            indices = np.concatenate([indices, np.repeat(indices[-1:], more)])
        return tf.gather(_split(texts.dictionary, 0), indices)
    return _split(texts, more)


def _split(texts: pa.Array, more: int) -> Any:
    """Joined by Arrow and split by TensorFlow; tf.constant would make an object of each text, and hold the lock."""
    count = len(texts)
    if count > 1:
        plain = texts if pa.types.is_binary(texts.type) else texts.cast(pa.binary())
        lists = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), plain)
        joined: bytes = pc.binary_join(lists, _SEPARATOR)[0].as_buffer().to_pybytes()
        if more:
            joined += (_SEPARATOR + plain[-1].as_py()) * more
        pieces = tf.raw_ops.StringSplitV2(input=tf.constant([joined]), sep=_SEPARATOR)[1]
        if pieces.shape[0] == count + more:
            return pieces
    values = texts.to_pylist()
    return tf.constant(values + values[-1:] * more, tf.string, shape=[count + more])


def to_binary(tensor: Any) -> pa.Array:
    """A string tensor of any shape as Arrow's binary, its values in order of rows.

    Raises:
        pa.ArrowInvalid: they are 2 GiB or more.
    """
    flat = tf.reshape(tensor, [-1])
    lengths = tf.strings.length(flat).numpy()
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    joined = tf.strings.reduce_join(flat).numpy()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined)]
    return pa.Array.from_buffers(pa.large_binary(), len(lengths), buffers).cast(pa.binary())


def zeros(taken: ModelInput) -> Feed:
    """One row of an input that says nothing."""
    if taken.dtype == "string":
        return Feed(taken, None, tuple(pa.array([""]) for _ in range(taken.width or 1)))
    dtype = "float32" if taken.dtype == "bfloat16" else taken.dtype
    return Feed(taken, np.zeros([1] if taken.width is None else [1, taken.width or 1], dtype))
