"""Prepared blocks: blocks of rows after the model's preprocessing, read by several threads, each block once."""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import tensorflow as tf

from headrace.components.train.input.examples import SplitFiles
from headrace.components.train.input.records import PreparedRows, RowPreparer, reading
from headrace.components.train.input.shard_stream import Shards

_MAX_READERS = 8
# Seconds without a call after which no further one is expected, and maximum seconds to wait for that.
_IDLE_SECONDS, _MAX_WAIT_SECONDS = 0.1, 30.0
T = TypeVar("T")


def readers() -> int:
    """Number of threads that read: one per core, at least 2 and at most 8."""
    return max(2, min(_MAX_READERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))


def in_parallel(function: Callable[[int], T], numbers: Iterable[int]) -> Iterator[T]:
    """The results of a function in the order of its arguments, some of them computed ahead in other threads."""
    with ThreadPoolExecutor(readers()) as pool:
        waiting = iter(numbers)
        ahead = [pool.submit(function, number) for number in itertools.islice(waiting, readers() + 1)]
        try:
            while ahead:
                yield ahead.pop(0).result()
                ahead.extend(pool.submit(function, number) for number in itertools.islice(waiting, 1))
        finally:
            for future in ahead:
                future.cancel()


class Calls:
    """Calls of a function by threads of TensorFlow, which must be over when the interpreter ends.

    A thread of TensorFlow that begins to run Python after that aborts the process. The threads stop by themselves when
    their buffers are full.
    """

    def __init__(self) -> None:
        self._state = state = _CallState()
        atexit.register(state.wait)
        weakref.finalize(self, atexit.unregister, state.wait).atexit = False

    def __enter__(self) -> None:
        self._state.add(1)

    def __exit__(self, *_: object) -> None:
        self._state.add(-1)

    def wait(self) -> None:
        """Waits until no call runs and none has begun for a while, at most half a minute."""
        self._state.wait()


class _CallState:
    def __init__(self) -> None:
        self._lock, self._running, self._changed = threading.Lock(), 0, time.monotonic()

    def add(self, number: int) -> None:
        with self._lock:
            self._running, self._changed = self._running + number, time.monotonic()

    def wait(self) -> None:
        end = time.monotonic() + _MAX_WAIT_SECONDS
        while time.monotonic() < end and (self._running or time.monotonic() - self._changed < _IDLE_SECONDS):
            time.sleep(_IDLE_SECONDS / 10)


class SharedBlocks:
    """Blocks of a stream by epoch and number: the first of the threads that need a block reads it for all of them.

    Args:
        read: (epoch, number) -> the columns of a block.
        held: number of blocks in memory; the oldest is released first.
    """

    def __init__(self, read: Callable[[int, int], list[Any]], held: int) -> None:
        self._read, self._held = read, held
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[int, int], Future[list[Any]]] = OrderedDict()

    def get(self, epoch: int, number: int) -> list[Any]:
        """The columns of a block.

        Raises:
            Exception: as raised by `read`, in each thread that needs the block.
        """
        with self._lock:
            future = self._blocks.get((epoch, number))
            first = future is None
            if future is None:
                future = self._blocks[epoch, number] = Future()
                while len(self._blocks) > self._held:
                    self._blocks.popitem(last=False)
        if first:
            try:
                future.set_result(self._read(epoch, number))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def clear(self) -> None:
        """Releases all blocks."""
        with self._lock:
            self._blocks.clear()


@dataclass(frozen=True)
class InOrder:
    """An iterable of the prepared blocks of a split, in the order of its files.

    Attributes:
        split: the split.
        shards: its shards.
        prepared: raw rows -> prepared rows.
    """

    split: SplitFiles
    shards: Shards
    prepared: RowPreparer

    def __iter__(self) -> Iterator[PreparedRows]:
        """Yields the `PreparedRows` of each block.

        Raises:
            DataError: a shard is damaged.
        """
        with reading(self.split):
            for rows in in_parallel(lambda n: self.prepared(self.shards.in_order(n)), range(self.shards.blocks)):
                yield tf.nest.map_structure(tf.convert_to_tensor, rows)
