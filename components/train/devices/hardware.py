"""Hardware description of the training machine, on which the choices of a strategy and of a cache depend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.components.train.devices.cluster import Cluster, read_cluster


@dataclass(frozen=True)
class Hardware:
    """The hardware of a machine.

    Attributes:
        devices: TensorFlow's names of the accelerators, such as "GPU:0"; empty if there is only a CPU.
        accelerator: the model of the accelerators, such as "NVIDIA H100 80GB HBM3"; None without accelerators.
        cores: CPU cores available to this process.
        memory_bytes: main memory still available to this process; None if unknown.
        capability: the minimum compute capability of the GPUs, such as (8, 0); None without GPUs or if unknown.
        cpus: number of TensorFlow's CPU devices: more than one only if the CPU is divided into logical devices.
        cluster: the processes that train together; None if this one trains alone.
        tpu: the name of a Cloud TPU; "" without one.
    """

    devices: tuple[str, ...]
    accelerator: str | None
    cores: int
    memory_bytes: int | None
    capability: tuple[int, int] | None = None
    cpus: int = 1
    cluster: Cluster | None = None
    tpu: str = ""

    def to_json(self) -> dict[str, Any]:
        """For training.json, without free memory, which changes from minute to minute."""
        return {
            "device": "TPU" if self.tpu else self.devices[0].split(":")[0] if self.devices else "CPU",
            "devices": list(self.devices) or ["CPU:0"],
            "accelerator": self.accelerator,
            "cores": self.cores,
            **({"compute_capability": ".".join(map(str, self.capability))} if self.capability else {}),
            **({"tpu": self.tpu} if self.tpu else {}),
        }


def describe(environment: Mapping[str, str] | None = None) -> Hardware:
    """Reads the devices from TensorFlow, cores and memory from the system, and cluster and TPU from the environment.

    It runs no operation of TensorFlow, because a cluster must be joined before the first one.

    Args:
        environment: holds TF_CONFIG, CLUSTER_SPEC and TPU_NAME; None for the environment of the process.

    Raises:
        UsageError: TF_CONFIG or CLUSTER_SPEC is not valid.
    """
    import tensorflow as tf

    environment = os.environ if environment is None else environment
    cluster = read_cluster(environment)
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [detail["compute_capability"] for detail in details if detail.get("compute_capability")]
    divided = [tf.config.get_logical_device_configuration(cpu) for cpu in tf.config.list_physical_devices("CPU")]
    return Hardware(
        devices=tuple(f"GPU:{index}" for index in range(len(gpus))),
        accelerator=details[0].get("device_name") if details else None,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=available_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup")),
        capability=min(capabilities, default=None) if len(capabilities) == len(gpus) else None,
        cpus=sum(len(parts or [None]) for parts in divided),
        cluster=cluster,
        tpu=environment.get("TPU_NAME", ""),
    )


def available_memory(meminfo: Path, cgroup: Path) -> int | None:
    """Available bytes of main memory: the minimum of the free memory of the machine and of the container.

    Args:
        meminfo: Linux' /proc/meminfo.
        cgroup: the folder of the container's limits (cgroup v2); it may set no limit.
    """
    free: list[int] = []
    if meminfo.is_file():
        lines = [line.split() for line in meminfo.read_text().splitlines()]
        free.extend(int(words[1]) * 1024 for words in lines if words and words[0] == "MemAvailable:")
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        free.append(max(0, int(limit.read_text()) - int(used.read_text())))
    return min(free) if free else None
