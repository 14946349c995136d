from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.input.packed_rows import Packing
from headrace.components.train.input.row_cache import InMemory


def test_rows_come_back_bit_for_bit_in_the_order_asked_for() -> None:
    features = {
        "numbers": tf.constant([[1.5, float("nan")], [-0.0, float("inf")], [3.0, 1e-45]]),
        "rows": tf.constant([7, -1, 2**31 - 1]),
        "short": tf.constant([[0, 1], [2**16 - 1, 3], [4, 2**15]]),
        "text": tf.constant(["a", "", "ü"]),
        "wide": tf.constant([[2**40], [-1], [0]], tf.int64),
    }
    taken, labels = _there_and_back((features, tf.constant([0, 1, 2**16])), [2, 0, 2])
    assert list(taken) == list(features)
    for name, column in features.items():
        expected = column.numpy()[[2, 0, 2]]
        assert taken[name].dtype == column.dtype
        assert taken[name].numpy().tobytes() == expected.tobytes() or np.array_equal(taken[name].numpy(), expected)
    assert labels.numpy().tolist() == [2**16, 0, 2**16]


@pytest.mark.parametrize("column", [[["a"], ["b"]], [0, 65_535], [0, 65_536], [0.5, 1.5], [-1, 0]])
def test_a_column_comes_back_alone(column: list[Any]) -> None:
    assert _there_and_back([tf.constant(column)], [1, 1])[0].numpy().tolist() == (
        tf.constant(column).numpy()[[1, 1]].tolist()
    )


def test_integers_that_fit_are_kept_in_16_bits() -> None:
    packing = Packing([tf.TensorSpec([None, 3], tf.int32)])
    assert [each.shape for each in packing.pack([tf.constant([[1, 2, 65_535]])])] == [[1, 3], [0, 3]]
    assert [each.shape for each in packing.pack([tf.constant([[1, 2, 65_536]])])] == [[1, 3], [1, 3]]


def test_blocks_are_taken_from_whatever_order_they_came_in() -> None:
    first, second = [tf.constant([1, 2]), tf.constant([0.5, 1.5])], [tf.constant([70_000]), tf.constant([2.5])]
    store = InMemory([tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)])
    taken = tf.function(store.gather, input_signature=[tf.TensorSpec([2], tf.int64)])
    taken.get_concrete_function()
    store.put(1, second)
    store.put(0, first)
    store.seal()
    numbers, halves = taken(tf.constant([2, 0], tf.int64))
    assert numbers.numpy().tolist() == [70_000, 1]
    assert halves.numpy().tolist() == [2.5, 0.5]


def _there_and_back(rows: Any, chosen: list[int]) -> Any:
    like = tf.nest.map_structure(lambda column: tf.TensorSpec([None, *column.shape[1:]], column.dtype), rows)
    packing = Packing(like)
    return packing.gather(packing.pack(tf.nest.flatten(rows)), tf.constant(chosen))
