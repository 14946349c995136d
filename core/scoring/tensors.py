"""Tensor conversion from and to Arrow and numpy: a few operations per column, without a Python object per text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from headrace.core.saved_model.interface import ModelInput, ModelOutput
from headrace.core.scoring.feeds import Feed

# Separator of joined texts. Texts that contain it change the number of pieces, and are converted the slow way.
_SEPARATOR = b"\0"


def tensors_of(feeds: Sequence[Feed], rows: int, filled: int, blank: str | None) -> dict[str, Any]:
    """The tensors to call a signature with.

    Args:
        feeds: one per input, each of `rows` rows.
        rows: number of rows, 1 or more.
        filled: rows of the tensors, padded with copies of the last row.
        blank: an input that is filled with empty strings.
    """
    tensors: dict[str, Any] = {}
    for feed in feeds:
        taken, dims = feed.taken, feed.dims or feed.taken.dims
        if feed.numbers is not None:
            numbers = filled_up(feed.numbers, filled - rows)
            tensor = tf.constant(numbers.reshape(filled, *dims) if dims else numbers)
            tensors[taken.name] = tf.cast(tensor, tf.bfloat16) if taken.dtype == "bfloat16" else tensor
        else:
            texts = [to_tensor(text, filled) for text in feed.texts]
            if taken.width is None:
                tensors[taken.name] = texts[0]
            else:
                tensors[taken.name] = tf.stack(texts, axis=1) if texts else tf.fill([filled, 0], "")
                if dims:
                    tensors[taken.name] = tf.reshape(tensors[taken.name], [filled, *dims])
    if blank is not None:
        tensors[blank] = tf.fill([filled], "")
    return tensors


def per_row_of(outputs: Sequence[ModelOutput]) -> Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]:
    """A function of a call's outputs and inputs, by name, that repeats outputs of one value per call in each row."""
    per_call = frozenset(given.name for given in outputs if given.per_call)

    def per_row(answers: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        if not per_call:
            return answers
        rows = len(next(iter(inputs.values())))
        return {name: tf.fill([rows], each) if name in per_call else each for name, each in answers.items()}

    return per_row


def filled_up(values: Any, more: int) -> Any:
    """An array padded with `more` copies of its last row."""
    return np.concatenate([values, np.repeat(values[-1:], more, axis=0)]) if more else values


def to_tensor(texts: pa.Array, rows: int) -> Any:
    """Converts strings or binary, plain or dictionary-encoded, to a string tensor.

    Args:
        texts: without nulls.
        rows: rows of the tensor, at least the number of texts; the last text pads it.

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
    """Joins in Arrow and splits in TensorFlow: tf.constant would create an object per text, and hold the GIL."""
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
    """Converts a string tensor of any shape to Arrow binary, in row order.

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
    """One synthetic row of an input."""
    dims = tuple(size or 1 for size in taken.dims)
    width = math.prod(dims) if dims else taken.width or 1
    if taken.dtype == "string":
        return Feed(taken, None, tuple(pa.array([""]) for _ in range(width)), dims=dims)
    dtype = "float32" if taken.dtype == "bfloat16" else taken.dtype
    return Feed(taken, np.zeros([1] if taken.width is None else [1, width], dtype), dims=dims)
