"""Chooses how training is distributed, and in what precision, from what the machine reports, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.components.train.devices.cluster import Cluster
from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.options import Distribution, Precision
from headrace.core.errors import UsageError

# From these on, tensor cores multiply in the type at several times the rate of float32.
_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)


@dataclass(frozen=True)
class Strategy:
    """A chosen strategy.

    Attributes:
        name: OneDevice, Mirrored, MultiWorkerMirrored or TPU.
        why: the reason, to be read by people.
        device: TensorFlow's name of the first device, such as "CPU:0".
        devices: those of this process.
        workers: processes that take steps.
        worker: the number of this one; 0 for the chief.
        chief: whether this process writes; every other one writes nothing.
        cluster: the processes, where there are several.
        tpu: the name of the TPU.
        precision: what layers compute in: float32, mixed_bfloat16 or mixed_float16; weights are float32 in each.
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
    """The strategy for `hardware`: a pure function, so what a machine would get can be told without it.

    Args:
        hardware: what the machine reports.
        request: what the user asks for; None leaves all to the machine.

    Raises:
        UsageError: the machine cannot do what is asked; it says what is missing.
    """
    request = request or Distribution()
    chosen = _distributed(hardware, request)
    precision, why = _precision(hardware, chosen.name, request.precision)
    values = {**vars(chosen), "precision": precision, "precision_why": why, "xla": request.xla}
    return Strategy(**values)


def _distributed(hardware: Hardware, request: Distribution) -> Strategy:
    cluster, asked = hardware.cluster, request.strategy
    if asked == "tpu" or (asked == "auto" and hardware.tpu):
        return _tpu(hardware)
    if asked == "multi_worker" or (asked == "auto" and cluster is not None):
        return _multi_worker(hardware, cluster)
    if cluster is not None:
        raise _refused(
            f"--strategy {asked}",
            "a machine that trains alone: each of the processes would train the same model",
            f"{cluster.source} with {sum(map(len, cluster.addresses.values()))} processes",
        )
    if asked == "mirrored" or (asked == "auto" and len(hardware.devices) > 1):
        return _mirrored(hardware)
    return _one_device(hardware)


def _one_device(hardware: Hardware) -> Strategy:
    if not hardware.devices:
        return Strategy("OneDevice", f"no accelerator was found: the CPU, with {hardware.cores} cores", "CPU:0")
    model, count = hardware.accelerator or "accelerator", len(hardware.devices)
    why = f"one {model} was found" if count == 1 else f"one device was asked for, of {count} {model} that were found"
    return Strategy("OneDevice", why, hardware.devices[0])


def _mirrored(hardware: Hardware) -> Strategy:
    if len(hardware.devices) > 1:
        why = f"{len(hardware.devices)} of {hardware.accelerator or 'accelerator'} were found"
        return Strategy("Mirrored", why, hardware.devices[0], hardware.devices)
    if not hardware.devices and hardware.cpus > 1:
        devices = tuple(f"CPU:{index}" for index in range(hardware.cpus))
        return Strategy("Mirrored", f"asked for; the CPU is divided into {hardware.cpus} devices", "CPU:0", devices)
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


def _precision(hardware: Hardware, name: str, asked: Precision) -> tuple[Precision, str]:
    model, capability = hardware.accelerator or "the GPU", hardware.capability
    on_gpu = bool(hardware.devices) and name != "TPU"
    written = ".".join(map(str, capability)) if capability else "unknown"
    if asked == "mixed_float16" and name == "TPU":
        raise _refused("--precision mixed_float16", "a GPU; a TPU computes in mixed_bfloat16", "a TPU")
    if asked != "auto":
        gains = name == "TPU" or (on_gpu and capability is not None and capability >= _FLOAT16_CAPABILITY)
        slower = asked != "float32" and not gains
        return asked, "asked for; this device does not gain from it" if slower else "asked for"
    if name == "TPU":
        return "mixed_bfloat16", "a TPU multiplies in bfloat16"
    if not on_gpu:
        return "float32", "a CPU does not gain from less"
    if capability is not None and capability >= _BFLOAT16_CAPABILITY:
        return "mixed_bfloat16", f"{model} has compute capability {written}, and gains from bfloat16 from 8.0 on"
    if capability is not None and capability >= _FLOAT16_CAPABILITY:
        return "mixed_float16", f"{model} has compute capability {written}: float16, with the loss scaled"
    return "float32", f"{model} has compute capability {written}, and gains from less from 7.0 on"


def _census(cluster: Cluster) -> str:
    return ", ".join(f"{len(listed)} {task}" for task, listed in sorted(cluster.addresses.items()))


def _refused(where: str, expected: str, received: str) -> UsageError:
    return UsageError(
        "this machine cannot train so",
        where=where,
        expected=expected,
        received=received,
        fix="Leave --strategy and --precision out to take what the machine has",
    )
