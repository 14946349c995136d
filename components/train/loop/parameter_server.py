"""Asynchronous training: a chief hands out steps, workers compute them, parameter servers hold the variables.

The chief reads the rows and sends each worker its batches, so that every batch is used once, whichever worker comes
first, and a worker holds no rows. A step is one worker's update with a whole batch.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.devices.create import cluster_spec
from headrace.components.train.devices.strategy import Strategy
from headrace.core.errors import PlatformError, UsageError

# Batches sent in one message: fewer would cost a round trip a step, more would leave workers idle at the end of a call.
_STEPS_A_MESSAGE = 16
_SECONDS_BETWEEN_LOOKS = 1.0
# A chief that imports TensorFlow and reads its rows takes a while to listen.
_SECONDS_TO_APPEAR = 600.0
_LOOKS_BEFORE_GONE = 3


def compile_steps(step: Any, strategy: Any, workers: int) -> Callable[[Any, int], tuple[int, float, float]]:
    """As `step_function.compile_steps`, for a chief of parameter servers.

    A loss that is not finite is found after the steps that were handed out with it, of which the first is named.

    Args:
        step: see `step_function.replica_step`.
        strategy: a ParameterServerStrategy.
        workers: over how many the steps are divided.
    """
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)

    @tf.function(autograph=False, reduce_retracing=True)
    def take(features: Any, labels: Any) -> Any:
        count = tf.shape(labels)[0]

        def one(number: Any, losses: Any) -> tuple[Any, Any]:
            batch = tf.nest.map_structure(lambda column: column[number], (features, labels))
            return number + 1, losses.write(number, tf.cast(strategy.run(step, args=batch), tf.float64))

        start = [tf.constant(0), tf.TensorArray(tf.float64, count)]
        return tf.while_loop(lambda number, _: number < count, one, start, parallel_iterations=1)[1].stack()

    def call(iterator: Any, count: int) -> tuple[int, float, float]:
        waited, sent, results = 0.0, 0, []
        size = max(1, min(_STEPS_A_MESSAGE, math.ceil(count / (2 * workers))))
        while sent < count:
            begin = time.perf_counter()
            drawn = [next(iterator) for _ in range(min(size, count - sent))]
            waited += time.perf_counter() - begin
            results.append(coordinator.schedule(take, args=tf.nest.map_structure(lambda *c: tf.stack(c), *drawn)))
            sent += len(drawn)
        coordinator.join()
        losses = np.concatenate([np.zeros(0), *(result.fetch() for result in results)])
        wrong = np.flatnonzero(~np.isfinite(losses))
        return int(wrong[0]) + 1 if len(wrong) else count, float(losses.sum()), waited

    return call


def serve(chosen: Strategy) -> None:
    """Does what the chief says until the chief is gone: what a worker or a parameter server is there for.

    Args:
        chosen: of this process; `chosen.serves`.

    Raises:
        PlatformError: the chief never came.
        UsageError: the address of this process cannot be listened at.
    """
    cluster = chosen.cluster
    if cluster is None:
        raise UsageError("there is no cluster", where=chosen.name, expected="TF_CONFIG or CLUSTER_SPEC")
    try:
        server = tf.distribute.Server(
            cluster_spec(cluster), job_name=cluster.task, task_index=cluster.index, protocol="grpc", start=True
        )
    except tf.errors.OpError as error:
        raise UsageError(
            "this process cannot listen at its address",
            where=cluster.addresses[cluster.task][cluster.index],
            expected="a free port of this machine",
            received=str(error.message)[:200],
        ) from error
    chief = cluster.addresses["chief"][0]
    began, seen, missed = time.monotonic(), False, 0
    while missed < _LOOKS_BEFORE_GONE:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        there = _listens(chief)
        seen = seen or there
        missed = missed + 1 if seen and not there else 0
        if not seen and time.monotonic() - began > _SECONDS_TO_APPEAR:
            raise PlatformError("the chief did not come", where=chief, expected="a process that listens there")
    # Its threads end with the process; it has no way to be stopped.
    del server


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5.0):
            return True
    except OSError:
        return False
