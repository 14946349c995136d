"""Distribution strategy objects of TensorFlow, with the connection to the TPU or the cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from headrace.components.train.devices.strategy import Strategy
from headrace.core.errors import PlatformError

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.NotFoundError,
    tf.errors.AbortedError,
    tf.errors.InternalError,
)
# Device files of the TPU drivers, on a machine and in a container.
_TPU_DEVICES = ("accel*", "vfio/[0-9]*")


def create(chosen: Strategy) -> Any:
    """Creates the tf.distribute.Strategy in whose scope the model is built.

    Call it before TensorFlow computes anything: a cluster cannot be joined later.

    For one device this is TensorFlow's default strategy, which places operations on the first accelerator by itself:
    OneDeviceStrategy passes each batch through its own iterator, which took a third of the time of a small step.

    Raises:
        PlatformError: the TPU or the other processes do not answer.
    """
    if chosen.name == "OneDevice":
        return tf.distribute.get_strategy()
    if chosen.name == "Mirrored":
        return tf.distribute.MirroredStrategy(list(chosen.devices))
    try:
        if chosen.name == "TPU":
            return _tpu(chosen.tpu)
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=_resolver(chosen))
    except (*_LOST, ValueError) as error:
        raise PlatformError(
            "the devices do not answer",
            where=f"TPU {chosen.tpu}" if chosen.tpu else chosen.cluster.source if chosen.cluster else chosen.name,
            expected="a reachable TPU" if chosen.tpu else "all addresses of the cluster are reachable",
            received=str(error).split("\n")[0][:200],
        ) from error


def greatest_of(devices: Any) -> Callable[[float], float]:
    """A function that returns the maximum of the workers' values, equal in each; all must call it together.

    Args:
        devices: a tf.distribute.Strategy. Only a MultiWorkerMirroredStrategy communicates.
    """
    if not isinstance(devices, tf.distribute.MultiWorkerMirroredStrategy):
        return float

    def greatest(own: Any) -> Any:
        # An operation of the replica has a device, which an argument does not.
        return tf.reduce_max(tf.distribute.get_replica_context().all_gather(tf.identity(own), axis=0))

    # One graph, because `Strategy.gather` would trace one in every call, which takes most of a second. In float64,
    # because a step number must not be rounded.
    @tf.function(input_signature=[tf.TensorSpec([1], tf.float64)], autograph=False)
    def run(own: Any) -> Any:
        return devices.experimental_local_results(devices.run(greatest, args=(own,)))[0]

    return lambda value: float(run(tf.constant([value], tf.float64)))


def _resolver(chosen: Strategy) -> Any:
    cluster = chosen.cluster
    if cluster is None:
        raise ValueError("a cluster is needed")
    spec = tf.train.ClusterSpec({task: list(addresses) for task, addresses in cluster.addresses.items()})
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type=cluster.task, task_id=cluster.index, rpc_layer="grpc"
    )


def _tpu(name: str) -> Any:
    # Without a TPU, libtpu searches for minutes and then aborts the process with a failed check.
    if name == "local" and not any(path for pattern in _TPU_DEVICES for path in Path("/dev").glob(pattern)):
        raise PlatformError(
            "this machine has no TPU",
            where="TPU local",
            expected="/dev/accel* or /dev/vfio/*, the device files of a TPU's driver",
            received="neither",
            fix="Run it on a machine with a TPU, or without TPU_NAME",
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
    if name != "local":
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
