"""Training summary: the lines at the end of `headrace train` and of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.components.train.loop.budget import NOT_LIMITS, duration
from headrace.core.text import counted

# Maximum notes of a warm start; training.json has all of them.
_NOTES_SHOWN = 12


def training_lines(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each line.

    Args:
        told: `TrainResult.to_json`; records of earlier versions have fewer fields.
    """
    trained = f"{counted(result['epochs'], 'epoch')}, {counted(result['steps'], 'step')}"
    yield "Training", f"{trained}; eval loss {result['eval_loss']:.4g} after epoch {result['best_epoch']}"
    yield "Training", f"ended by {result['stopped']}"
    if resumed := (result.get("checkpoints") or {}).get("resumed_at_steps"):
        yield "Training", f"resumed from a checkpoint at step {', '.join(f'{step:,}' for step in resumed)}"
    if strategy := result.get("strategy"):
        precision = f", in {strategy['precision']}" if strategy.get("precision") else ""
        yield "Devices", f"{strategy['name']}{precision}: {strategy['why']}"
    yield "Speed", f"{result['rows_per_second']:,.0f} rows/s"
    if bound := (result.get("bound") or {}).get("text"):
        yield "Speed", bound
    yield from _budget(result.get("budget") or {})
    yield from _warm_start(result.get("warm_start") or {})
    for note in result.get("notes") or []:
        yield "Notes", note


def _budget(budget: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    limits = [f"{name} {value}" for name, value in budget.items() if name not in NOT_LIMITS and value is not None]
    if not limits:
        return
    used = duration(budget["hours"] * 3600)
    if budget.get("cost"):
        used += f", {budget['cost']:.4g} at {budget['price_per_hour']:g} per hour"
    yield "Budget", f"{', '.join(limits)}: used {used}"


def _warm_start(start: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not start:
        return
    share = start["parameters_carried"] / start["parameters"]
    yield "Started", f"from version {start['model_version']}: {share:.1%} of the parameters carried over"
    for note in start["notes"][:_NOTES_SHOWN]:
        yield "Started", note
    if len(start["notes"]) > _NOTES_SHOWN:
        yield "Started", f"... and {len(start['notes']) - _NOTES_SHOWN} more, in training.json"
