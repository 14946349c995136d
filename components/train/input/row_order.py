"""Row order of cached rows: the row numbers at any place of the endless stream of epochs.

Both orders depend on the seed and the epoch only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from headrace.components.train.input.records import BLOCK_ROWS

RUN_ROWS = 256
_RUNS = BLOCK_ROWS // RUN_ROWS
# Threads may read the end of an epoch, or of a window, while another begins the next.
_KEPT_EPOCHS, _KEPT_WINDOWS = 2, 16


def shuffled(values: Any, first_seed: int, second_seed: int) -> npt.NDArray[Any]:
    """A uniform permutation of [rows] values, which depends on two seeds of int64 only."""
    seeds = np.array([first_seed, second_seed], np.int64)
    with tf.device("CPU:0"):
        return np.asarray(tf.random.experimental.stateless_shuffle(values, seeds))


class RowOrder(Protocol):
    """The order of the rows of a stream."""

    def numbers(self, place: int, count: int) -> npt.NDArray[np.int64]:
        """[count] row numbers from a place of the stream, which is counted through all epochs from 0."""


class Uniform:
    """Each epoch is a uniform permutation.

    Args:
        rows: number of rows of an epoch.
        seed: in [0, 2**63).
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._lock = threading.Lock()
        self._permutation = lru_cache(_KEPT_EPOCHS)(self._of_epoch)

    def numbers(self, place: int, count: int) -> npt.NDArray[np.int64]:
        parts = []
        for epoch, begin, end in cuts(place, place + count, self._rows):
            # Threads that need the same epoch wait for one that shuffles it.
            with self._lock:
                permutation = self._permutation(epoch)
            parts.append(permutation[begin:end])
        return np.concatenate(parts).astype(np.int64)

    def _of_epoch(self, epoch: int) -> npt.NDArray[np.int32]:
        # tf.random.experimental.index_shuffle computes single positions, but is far from uniform.
        return shuffled(np.arange(self._rows, dtype=np.int32), self._seed, epoch)


class ShuffledRuns:
    """Each epoch permutes runs of 256 rows, and the rows among 64 of them: a disk reads runs, not rows.

    The offset of an epoch's runs is random, so their bounds differ from epoch to epoch. Arguments are those of
    `Uniform`.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._lock = threading.Lock()
        self._order = lru_cache(_KEPT_EPOCHS)(self._of_epoch)
        self._window = lru_cache(_KEPT_WINDOWS)(self._of_window)

    def numbers(self, place: int, count: int) -> npt.NDArray[np.int64]:
        parts = []
        for epoch, begin, end in cuts(place, place + count, self._rows):
            for window, first, last in cuts(begin, end, BLOCK_ROWS):
                with self._lock:
                    rows = self._window(epoch, window)
                parts.append(rows[first:last])
        return np.concatenate(parts)

    def _of_epoch(self, epoch: int) -> tuple[npt.NDArray[np.int64], int]:
        """The order of the runs, and the row with which the first one begins."""
        seeds = np.array([self._seed, epoch], np.int64)
        with tf.device("CPU:0"):
            shift = tf.random.stateless_uniform([], seeds, maxval=self._rows, dtype=tf.int64)
        whole_runs = self._rows // RUN_ROWS
        # The rest after the last complete run comes last.
        order = np.append(shuffled(np.arange(whole_runs, dtype=np.int64), self._seed, epoch), whole_runs)
        return order, int(shift)

    def _of_window(self, epoch: int, window: int) -> npt.NDArray[np.int64]:
        order, shift = self._order(epoch)
        chosen = order[window * _RUNS : (window + 1) * _RUNS]
        places = (chosen[:, None] * RUN_ROWS + np.arange(RUN_ROWS)).ravel()
        places = (places[places < self._rows] + shift) % self._rows
        return shuffled(places, self._seed, epoch + (window + 1) * (1 << 32))


def cuts(begin: int, end: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(number of the piece, begin and end within it) of the pieces of a length that [begin, end) meets."""
    while begin < end:
        number, within = divmod(begin, length)
        taken = min(length - within, end - begin)
        yield number, within, within + taken
        begin += taken
