"""Packed rows: the numbers of a row are contiguous in memory, so a row is read from one place, not one per column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

_PACKED = (tf.float32, tf.int32)


class Packing:
    """Packs rows of a structure into contiguous memory, and gathers rows from there.

    Memory access dominates the cost of gathering random rows, so integers are stored in 16 bits if all of them fit:
    most indices into vocabularies and crosses do.

    Attributes:
        packed: specifications of the packed tensors: [rows, words] of 16 bits, for floats and the lower halves of
            integers; [rows, integers] for their upper halves, or [0, integers] if all are zero; and the columns of
            other types.

    Args:
        like: a structure of tensors or specifications, [None, ...] each, with the types and shapes of the rows.
    """

    def __init__(self, like: Any) -> None:
        self._like = like
        flat = tf.nest.flatten(like)
        self._side_by_side = [place for place, column in enumerate(flat) if column.dtype in _PACKED]
        self._apart = [place for place, column in enumerate(flat) if column.dtype not in _PACKED]
        values = {place: tf.TensorShape(flat[place].shape[1:]).num_elements() for place in self._side_by_side}
        self._integers = [place for place in self._side_by_side if flat[place].dtype == tf.int32]
        self._words = [values[place] * (1 if place in self._integers else 2) for place in self._side_by_side]
        self._values = [values[place] for place in self._integers]
        self.packed = [
            tf.TensorSpec([None, sum(self._words)], tf.uint16),
            tf.TensorSpec([None, sum(self._values)], tf.uint16),
            *(tf.TensorSpec([None, *flat[place].shape[1:]], flat[place].dtype) for place in self._apart),
        ]

    def pack(self, columns: Iterable[Any]) -> list[Any]:
        """Packs columns into tensors as specified by `packed`.

        Args:
            columns: in the order of the flattened structure; each is released soon after the next one is read.
        """
        words, upper, apart, rows = [], [], [], 0
        with tf.device("CPU:0"):
            for place, column in enumerate(columns):
                rows = len(column)
                if place in self._apart:
                    apart.append(column)
                elif place in self._integers:
                    lower, high = _halves(column)
                    words.append(lower)
                    # The upper halves of most columns are zero: storing them until the end would waste memory.
                    upper.append(high)
                else:
                    words.append(tf.reshape(tf.bitcast(column, tf.uint16), [rows, -1]))
            if all(half is None for half in upper):
                rows = 0
            upper = [
                tf.zeros([rows, values], tf.uint16) if half is None else half
                for half, values in zip(upper, self._values, strict=True)
            ]
            return [_side_by_side(words), _side_by_side(upper), *apart]

    def gather(self, packed: Sequence[Any], chosen: Any) -> Any:
        """Gathers rows by number, in this order, in the original structure.

        Args:
            packed: the result of `pack`, or variables with its values.
            chosen: [n] row numbers.
        """
        words, upper, *apart = packed
        like = tf.nest.flatten(self._like)
        taken = {place: tf.gather(column, chosen) for place, column in zip(self._apart, apart, strict=True)}
        if self._side_by_side:
            halves = tf.split(tf.gather(words, chosen), self._words, axis=1)
            for place, part in zip(self._side_by_side, halves, strict=True):
                taken[place] = part if place in self._integers else tf.bitcast(tf.reshape(part, [-1, 2]), tf.float32)
        if self._integers:
            lower = [taken[place] for place in self._integers]
            whole = tf.cond(
                tf.shape(upper)[0] > 0,
                lambda: _joined(lower, tf.split(tf.gather(upper, chosen), self._values, axis=1)),
                lambda: [tf.cast(half, tf.int32) for half in lower],
            )
            taken.update(zip(self._integers, whole, strict=True))
        rows = -1 if chosen.shape[0] is None else chosen.shape[0]
        shaped = [tf.reshape(taken[place], [rows, *spec.shape[1:]]) for place, spec in enumerate(like)]
        return tf.nest.pack_sequence_as(self._like, shaped)


def _side_by_side(pieces: Sequence[Any]) -> Any:
    return tf.concat(pieces, axis=1) if pieces else tf.zeros([0, 0], tf.uint16)


def _halves(column: Any) -> tuple[Any, Any]:
    """The lower halves of integers, and the upper halves or None if all are zero."""
    halves = tf.bitcast(tf.reshape(column, [len(column), -1]), tf.uint16)
    return halves[:, :, 0], halves[:, :, 1] if tf.reduce_any(halves[:, :, 1] != 0) else None


def _joined(lower: Sequence[Any], upper: Sequence[Any]) -> list[Any]:
    return [tf.bitcast(tf.stack(halves, axis=-1), tf.int32) for halves in zip(lower, upper, strict=True)]
