"""Says what bounds the speed of a training - its input, its memory or its arithmetic - and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

# Less waiting than this is not worth an engineer's afternoon.
_WAITING = 0.25
_SMALL_BATCH = 256


@dataclass(frozen=True)
class Bound:
    """What bounds a training.

    Attributes:
        by: input, memory or compute.
        text: the same with what to change, to be read by people.
    """

    by: Literal["input", "memory", "compute"]
    text: str

    def to_json(self) -> dict[str, Any]:
        """For training.json."""
        return {"by": self.by, "text": self.text}


def bound_of(*, input_share: float, cache: str, device: str, precision: str, xla: bool, batch_size: int) -> Bound:
    """What bounds a training: a pure function of what was measured and chosen.

    Args:
        input_share: of the time of the steps, spent waiting for a batch.
        cache: where rows are kept: memory, disk or none.
        device: CPU, GPU or TPU.
        precision: what layers compute in.
        xla: whether the step is compiled with XLA.
        batch_size: rows a step.
    """
    small = f"a larger batch_size than {batch_size}" if batch_size < _SMALL_BATCH else ""
    if input_share < _WAITING:
        waiting = f"bound by compute: {input_share:.0%} of the time waiting for input"
        advice = [small]
        if device == "CPU":
            advice.append("a GPU, which pays for models larger than a few hundred thousand parameters")
        elif precision == "float32":
            advice.append("--precision mixed_bfloat16")
        advice.append("" if xla else "--xla")
        return Bound("compute", _with(waiting, advice))
    waiting = f"{input_share:.0%} of the time waiting for input"
    if cache == "none":
        advice = ["more memory or a larger local disk: the rows fit in neither, and are parsed again each epoch"]
        return Bound("memory", _with(f"bound by memory: {waiting}", advice))
    advice = [
        small,
        "more cores" if device != "CPU" else "",
        "more memory: rows come from disk" if cache == "disk" else "",
    ]
    if not any(advice):
        advice = ["a larger model, which costs nothing more until the input is the slower one no longer"]
    return Bound("input", _with(f"bound by input: {waiting}", advice))


def _with(what: str, advice: list[str]) -> str:
    helpful = [text for text in advice if text]
    return f"{what}; what would help: {', or '.join(helpful)}" if helpful else what
