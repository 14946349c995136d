"""Distribution strategy and precision of a training, chosen from the hardware, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.components.train.devices.cluster import Cluster
from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.options import Distribution, Precision
from headrace.core.errors import UsageError

# From these compute capabilities on, tensor cores multiply in the type at several times the rate of float32.
_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)


@dataclass(frozen=True)
class Strategy:
    """A chosen strategy.

    Attributes:
        name: OneDevice, Mirrored, MultiWorkerMirrored or TPU.
        why: the reason, for people.
        device: TensorFlow's name of the first device, such as "CPU:0".
        devices: the devices of this process.
        workers: number of processes that train.
        worker: the number of this process; 0 for the chief.
        chief: whether this process writes; all other processes write nothing.
        cluster: the processes, if there are several.
        tpu: the name of the TPU.
        precision: the type in which layers compute: float32, mixed_bfloat16 or mixed_float16; weights are float32.
        precision_why: the reason.
        xla: whether the step is compiled with XLA.
    """

    name: str
    why: str
    device: str
    devices: tuple[str, ...] = ()
    workers: int = 1
    worker: int = 0
    chief: bool = True
    cluster: Cluster | None = None
    tpu: str = ""
    precision: Precision = "float32"
    precision_why: str = ""
    xla: bool = False

    def to_json(self) -> dict[str, Any]:
        """For training.json."""
        return {
            "name": self.name,
            "why": self.why,
            "devices": list(self.devices) or [self.device],
            "workers": self.workers,
            "precision": self.precision,
            "precision_why": self.precision_why,
            "xla": self.xla,
        }


def choose(hardware: Hardware, request: Distribution | None = None) -> Strategy:
    """Chooses the strategy for `hardware`. A pure function: it can choose for a machine that is not present.

    Args:
        hardware: the description of the machine.
        request: the user's options; None for the defaults of the machine.

    Raises:
        UsageError: the requested strategy or precision is not available on the machine.
    """
    request = request or Distribution()
    chosen = _distributed(hardware, request)
    precision, why = _precision(hardware, chosen.name, request.precision)
    values = {**vars(chosen), "precision": precision, "precision_why": why, "xla": request.xla}
    return Strategy(**values)


def _distributed(hardware: Hardware, request: Distribution) -> Strategy:
    cluster, requested = hardware.cluster, request.strategy
    if requested == "tpu" or (requested == "auto" and hardware.tpu):
        return _tpu(hardware)
    if requested == "multi_worker" or (requested == "auto" and cluster is not None):
        return _multi_worker(hardware, cluster)
    if cluster is not None:
        raise _refused(
            f"--strategy {requested}",
            "a machine that trains alone: each of the processes would train the same model",
            f"{cluster.source} with {sum(map(len, cluster.addresses.values()))} processes",
        )
    if requested == "mirrored" or (requested == "auto" and len(hardware.devices) > 1):
        return _mirrored(hardware)
    return _one_device(hardware)


def _one_device(hardware: Hardware) -> Strategy:
    if not hardware.devices:
        return Strategy("OneDevice", f"no accelerator: the CPU, with {hardware.cores} cores", "CPU:0")
    model, count = hardware.accelerator or "accelerator", len(hardware.devices)
    why = f"one {model} was found" if count == 1 else f"one device was requested, of {count} {model} that were found"
    return Strategy("OneDevice", why, hardware.devices[0])


def _mirrored(hardware: Hardware) -> Strategy:
    if len(hardware.devices) > 1:
        why = f"{len(hardware.devices)} of {hardware.accelerator or 'accelerator'} were found"
        return Strategy("Mirrored", why, hardware.devices[0], hardware.devices)
    if not hardware.devices and hardware.cpus > 1:
        devices = tuple(f"CPU:{index}" for index in range(hardware.cpus))
        return Strategy("Mirrored", f"requested; the CPU is divided into {hardware.cpus} devices", "CPU:0", devices)
    raise _refused(
        "--strategy mirrored",
        "two GPUs or more",
        f"one {hardware.accelerator}" if hardware.devices else f"no GPU, and a CPU of {hardware.cores} cores",
    )


def _multi_worker(hardware: Hardware, cluster: Cluster | None) -> Strategy:
    if cluster is None:
        raise _refused(
            "--strategy multi_worker",
            "TF_CONFIG or CLUSTER_SPEC with the addresses of two workers or more",
            "neither, or one process alone",
        )
    if "ps" in cluster.addresses or cluster.workers < 2 or cluster.task == "evaluator":
        raise _refused(
            cluster.source,
            "two or more processes of type chief or worker, this one among them, and no parameter server (ps)",
            f"{_census(cluster)}; this one is {cluster.task} {cluster.index}",
        )
    devices = hardware.devices or ("CPU:0",)
    why = f"{cluster.source} names {cluster.workers} workers, of which this is number {cluster.worker}"
    return Strategy(
        "MultiWorkerMirrored", why, devices[0], devices, cluster.workers, cluster.worker, cluster.chief, cluster
    )


def _tpu(hardware: Hardware) -> Strategy:
    if not hardware.tpu:
        raise _refused("--strategy tpu", "the environment variable TPU_NAME, such as TPU_NAME=local", "no TPU_NAME")
    if hardware.cluster is not None:
        raise _refused("TPU_NAME", "a TPU, or a cluster", f"both TPU_NAME and {hardware.cluster.source}")
    return Strategy("TPU", f"TPU_NAME names the TPU {hardware.tpu}", "TPU:0", tpu=hardware.tpu)


def _precision(hardware: Hardware, name: str, requested: Precision) -> tuple[Precision, str]:
    model, capability = hardware.accelerator or "the GPU", hardware.capability
    on_gpu = bool(hardware.devices) and name != "TPU"
    written = ".".join(map(str, capability)) if capability else "unknown"
    if requested == "mixed_float16" and name == "TPU":
        raise _refused("--precision mixed_float16", "a GPU; a TPU computes in mixed_bfloat16", "a TPU")
    if requested != "auto":
        gains = name == "TPU" or (on_gpu and capability is not None and capability >= _FLOAT16_CAPABILITY)
        slower = requested != "float32" and not gains
        return requested, "requested; this device does not gain from it" if slower else "requested"
    if name == "TPU":
        return "mixed_bfloat16", "a TPU multiplies in bfloat16"
    if not on_gpu:
        return "float32", "a CPU does not gain from lower precision"
    if capability is not None and capability >= _BFLOAT16_CAPABILITY:
        return "mixed_bfloat16", f"{model} has compute capability {written}, and gains from bfloat16 from 8.0 on"
    if capability is not None and capability >= _FLOAT16_CAPABILITY:
        return "mixed_float16", f"{model} has compute capability {written}: float16, with the loss scaled"
    return "float32", f"{model} has compute capability {written}, and gains from lower precision from 7.0 on"


def _census(cluster: Cluster) -> str:
    return ", ".join(f"{len(listed)} {task}" for task, listed in sorted(cluster.addresses.items()))


def _refused(where: str, expected: str, received: str) -> UsageError:
    return UsageError(
        "the requested strategy is not available on this machine",
        where=where,
        expected=expected,
        received=received,
        fix="Remove --strategy and --precision to use the defaults for this machine",
    )
