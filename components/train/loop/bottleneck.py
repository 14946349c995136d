"""Bottleneck report: which of input, memory and arithmetic limits the speed of training, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

# A smaller fraction of waiting is not worth an engineer's afternoon.
_WAITING = 0.25
_SMALL_BATCH = 256


@dataclass(frozen=True)
class Bound:
    """The bottleneck of a training.

    Attributes:
        by: input, memory or compute.
        text: the bottleneck and the advice, for people.
    """

    by: Literal["input", "memory", "compute"]
    text: str

    def to_json(self) -> dict[str, Any]:
        """For training.json."""
        return {"by": self.by, "text": self.text}


def bound_of(*, input_share: float, cache: str, device: str, precision: str, xla: bool, batch_size: int) -> Bound:
    """Finds the bottleneck of a training from its measurements and its options. A pure function.

    Args:
        input_share: fraction of the training time spent waiting for a batch.
        cache: where rows are cached: memory, disk or none.
        device: CPU, GPU or TPU.
        precision: the type in which layers compute.
        xla: whether the step is compiled with XLA.
        batch_size: rows per step.
    """
    small = f"a larger batch_size than {batch_size}" if batch_size < _SMALL_BATCH else ""
    if input_share < _WAITING:
        waiting = f"bound by compute: {input_share:.0%} of the time waiting for input"
        advice = [small]
        if device == "CPU":
            advice.append("a GPU, which is faster for models of more than a few hundred thousand parameters")
        elif precision == "float32":
            advice.append("--precision mixed_bfloat16")
        advice.append("" if xla else "--xla")
        return Bound("compute", _with(waiting, advice))
    waiting = f"{input_share:.0%} of the time waiting for input"
    if cache == "none":
        advice = ["more memory or a larger local disk: the rows fit in neither and are parsed again in each epoch"]
        return Bound("memory", _with(f"bound by memory: {waiting}", advice))
    advice = [
        small,
        "more cores" if device != "CPU" else "",
        "more memory: rows are read from disk" if cache == "disk" else "",
    ]
    if not any(advice):
        advice = ["a larger model, which costs no more time until the input is no longer the bottleneck"]
    return Bound("input", _with(f"bound by input: {waiting}", advice))


def _with(finding: str, advice: list[str]) -> str:
    helpful = [text for text in advice if text]
    return f"{finding}; what would help: {', or '.join(helpful)}" if helpful else finding
