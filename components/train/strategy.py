"""Chooses how training is distributed, from what the machine reports, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.components.train.hardware import Hardware


@dataclass(frozen=True)
class Strategy:
    """A chosen strategy.

    Attributes:
        name: "OneDevice" is the only one so far.
        why: the reason, to be read by people.
        device: TensorFlow's name of the device, such as "CPU:0".
    """

    name: str
    why: str
    device: str

    def to_json(self) -> dict[str, str]:
        """For training.json."""
        return {"name": self.name, "why": self.why}

    def create(self) -> Any:
        """The tf.distribute.Strategy in whose scope the model is built.

        On one device that is TensorFlow's default, which takes the first accelerator by itself: OneDeviceStrategy
        hands each batch through an iterator of its own, which cost a third of a small step.
        """
        import tensorflow as tf

        return tf.distribute.get_strategy()


def choose(hardware: Hardware) -> Strategy:
    """The strategy for `hardware`: a pure function, so what a machine would get can be told without it."""
    if not hardware.devices:
        return Strategy("OneDevice", f"no accelerator was found: the CPU, with {hardware.cores} cores", "CPU:0")
    model = hardware.accelerator or "accelerator"
    if len(hardware.devices) == 1:
        return Strategy("OneDevice", f"one {model} was found", hardware.devices[0])
    return Strategy(
        "OneDevice",
        f"{len(hardware.devices)} of {model} were found; this version trains on one of them",
        hardware.devices[0],
    )
