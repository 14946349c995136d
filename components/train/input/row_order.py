"""Row order of cached rows: index vectors for each epoch, from any position of the stream.

Both orders depend on the seed and the epoch only.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from headrace.components.train.input.records import BLOCK_ROWS, after_place
from headrace.components.train.input.shard_stream import ENDLESS

RUN_ROWS = 256
_RUNS = BLOCK_ROWS // RUN_ROWS


def uniform(rows: int, seed: int, place: int) -> Any:
    """An endless dataset of vectors of row numbers: each epoch is a uniform permutation.

    Args:
        rows: number of rows of an epoch.
        seed: in [0, 2**63).
        place: the first row of the stream, counted through all epochs.
    """

    @tf.autograph.experimental.do_not_convert
    def permutation(epoch: Any) -> Any:
        # tf.random.experimental.index_shuffle computes single positions, but is far from uniform.
        return tf.random.experimental.stateless_shuffle(tf.range(rows), tf.stack([seed, epoch]))

    first, within = divmod(place, rows)
    return after_place(tf.data.Dataset.range(first, ENDLESS).map(permutation), within)


def runs(rows: int, seed: int, place: int) -> Any:
    """An endless dataset of vectors of row numbers: each epoch permutes runs of 256 rows, and rows among 64 of them.

    The offset of an epoch's runs is random, so their bounds differ from epoch to epoch. A disk reads runs, not rows.
    Arguments are those of `uniform`.
    """
    whole_runs = rows // RUN_ROWS

    @tf.autograph.experimental.do_not_convert
    def of_epoch(epoch: Any, first_window: int) -> Any:
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        shift = tf.random.stateless_uniform([], seeds, maxval=rows, dtype=tf.int64)
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.constant(whole_runs, tf.int64)), seeds)
        # The rest after the last complete run comes last.
        order = tf.concat([order, [whole_runs]], axis=0)

        @tf.autograph.experimental.do_not_convert
        def window(number: Any) -> Any:
            chosen = order[number * _RUNS : (number + 1) * _RUNS]
            places = tf.reshape(chosen[:, None] * RUN_ROWS + tf.range(RUN_ROWS, dtype=tf.int64), [-1])
            places = (tf.boolean_mask(places, places < rows) + shift) % rows
            return tf.random.experimental.stateless_shuffle(
                places, tf.stack([seeds[0], epoch + (number + 1) * (1 << 32)])
            )

        windows = (rows + BLOCK_ROWS - 1) // BLOCK_ROWS
        return tf.data.Dataset.range(first_window, windows).map(window, num_parallel_calls=tf.data.AUTOTUNE)

    first, within = divmod(place, rows)
    window, surplus = divmod(within, BLOCK_ROWS)
    begun = tf.data.Dataset.range(first, first + 1).flat_map(lambda epoch: of_epoch(epoch, window))
    later = tf.data.Dataset.range(first + 1, ENDLESS).flat_map(lambda epoch: of_epoch(epoch, 0))
    return after_place(begun, surplus).concatenate(later)
