from __future__ import annotations

import numpy as np
import tensorflow as tf

from headrace.components.train.held import Columns, Packed


def test_rows_come_back_bit_for_bit_in_the_order_asked_for() -> None:
    features = {
        "numbers": tf.constant([[1.5, float("nan")], [-0.0, float("inf")], [3.0, 1e-45]]),
        "rows": tf.constant([7, -1, 2**31 - 1]),
        "text": tf.constant(["a", "", "ü"]),
        "wide": tf.constant([[2**40], [-1], [0]], tf.int64),
    }
    packed = Packed(Columns(features, tf.constant([0, 1, 2]), 3))
    taken, labels = packed.gather(tf.constant([2, 0, 2]))
    assert list(taken) == list(features)
    for name, column in features.items():
        expected = column.numpy()[[2, 0, 2]]
        assert taken[name].dtype == column.dtype
        assert taken[name].numpy().tobytes() == expected.tobytes() or np.array_equal(taken[name].numpy(), expected)
    assert labels.numpy().tolist() == [2, 0, 2]
