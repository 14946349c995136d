"""What a training came to, in a few lines, for the end of `headrace train` and of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.components.train.loop.budget import NOT_LIMITS, duration
from headrace.core.text import counted

# A warm start's list can be long; training.json has all of it.
_NOTES_SHOWN = 12


def training_lines(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) of each line.

    Args:
        told: `TrainResult.to_json`; records of earlier versions say less.
    """
    taken = f"{counted(told['epochs'], 'epoch')}, {counted(told['steps'], 'step')}"
    yield "Training", f"{taken}; eval loss {told['eval_loss']:.4g} after epoch {told['best_epoch']}"
    yield "Training", f"ended by {told['stopped']}"
    if resumed := (told.get("checkpoints") or {}).get("resumed_at_steps"):
        yield "Training", f"went on from a checkpoint at step {', '.join(f'{step:,}' for step in resumed)}"
    if strategy := told.get("strategy"):
        precision = f", in {strategy['precision']}" if strategy.get("precision") else ""
        yield "Devices", f"{strategy['name']}{precision}: {strategy['why']}"
    yield "Speed", f"{told['rows_per_second']:,.0f} rows/s"
    if bound := (told.get("bound") or {}).get("text"):
        yield "Speed", bound
    yield from _budget(told.get("budget") or {})
    yield from _warm_start(told.get("warm_start") or {})
    for note in told.get("notes") or []:
        yield "Notes", note


def _budget(budget: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    asked = [f"{name} {value}" for name, value in budget.items() if name not in NOT_LIMITS and value is not None]
    if not asked:
        return
    used = duration(budget["hours"] * 3600)
    if budget.get("cost"):
        used += f", {budget['cost']:.4g} at {budget['price_per_hour']:g} an hour"
    yield "Budget", f"{', '.join(asked)}: used {used}"


def _warm_start(start: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not start:
        return
    share = start["parameters_carried"] / start["parameters"]
    yield "Started", f"from version {start['model_version']}: {share:.1%} of the parameters carried over"
    for note in start["notes"][:_NOTES_SHOWN]:
        yield "Started", note
    if len(start["notes"]) > _NOTES_SHOWN:
        yield "Started", f"... and {len(start['notes']) - _NOTES_SHOWN} more, in training.json"
