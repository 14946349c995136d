"""Describes the machine that training runs on: what the choice of a strategy and of a cache depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Hardware:
    """What a machine reports.

    Attributes:
        devices: TensorFlow's names of the accelerators, such as "GPU:0"; empty where there is only a CPU.
        accelerator: the model of the accelerators, such as "NVIDIA H100 80GB HBM3"; None without any.
        cores: CPU cores that this process may use.
        memory_bytes: main memory that this process may still take; None where the system does not say.
    """

    devices: tuple[str, ...]
    accelerator: str | None
    cores: int
    memory_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """For training.json. Free memory is left out: it says nothing about the machine a minute later."""
        return {
            "device": self.devices[0].split(":")[0] if self.devices else "CPU",
            "devices": list(self.devices) or ["CPU:0"],
            "accelerator": self.accelerator,
            "cores": self.cores,
        }


def describe() -> Hardware:
    """Asks TensorFlow for the devices and the system for cores and memory."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    accelerator = tf.config.experimental.get_device_details(gpus[0]).get("device_name") if gpus else None
    return Hardware(
        devices=tuple(f"GPU:{index}" for index in range(len(gpus))),
        accelerator=accelerator,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=available_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup")),
    )


def available_memory(meminfo: Path, cgroup: Path) -> int | None:
    """Bytes of main memory that may still be taken: the least of what the machine and the container have free.

    Args:
        meminfo: Linux' /proc/meminfo.
        cgroup: where the container's limits are (cgroup v2); without a limit there the machine decides.
    """
    free: list[int] = []
    if meminfo.is_file():
        lines = [line.split() for line in meminfo.read_text().splitlines()]
        free.extend(int(words[1]) * 1024 for words in lines if words and words[0] == "MemAvailable:")
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        free.append(max(0, int(limit.read_text()) - int(used.read_text())))
    return min(free) if free else None
