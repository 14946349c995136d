"""Training record: the options, hardware, history and results of a training, as the content of training.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from headrace.components.train.config import TrainConfig
from headrace.components.train.input.examples import Examples
from headrace.components.train.loop.bottleneck import bound_of
from headrace.components.train.loop.budget import Meter
from headrace.components.train.loop.run_state import RunState
from headrace.components.train.preparation import TrainingSetup
from headrace.core.artifacts.kinds import MODEL
from headrace.core.problem import Training
from headrace.core.problem.file import ProblemFile


def describe(
    prepared: TrainingSetup,
    problem_file: ProblemFile,
    config: TrainConfig,
    training: Training,
    examples: Examples,
    state: RunState,
    meter: Meter,
) -> dict[str, Any]:
    """The content of training.json, as JSON values.

    Args:
        prepared: the parts of the training.
        problem_file: the problem.
        config: the configuration of the training.
        training: the problem's `training`, with overrides applied.
        examples: the Examples that were read.
        state: the final state of the loop.
        meter: the time and the cost.
    """
    problem, source, chosen = problem_file.problem, prepared.source, prepared.strategy
    hardware = prepared.machine.to_json()
    input_share = round(min(1.0, state.input_seconds / state.train_seconds), 4) if state.train_seconds else 0.0
    bound = bound_of(
        input_share=input_share,
        cache=source.place.cache,
        device=hardware["device"],
        precision=chosen.precision,
        xla=chosen.xla,
        batch_size=prepared.batch.rows,
    )
    return {
        "format": 1,
        "kind": MODEL.kind,
        "model_version": config.identity,
        "examples_identity": examples.identity,
        "problem": problem.name,
        "problem_digest": problem_file.digest,
        "task": problem.task,
        "model": model_kind(problem_file, training),
        "loss": prepared.objective.loss_name,
        "history": state.history,
        "epochs": len(state.history["loss"]),
        "steps": state.steps,
        "best_epoch": state.best_epoch,
        "stopped": state.stopped,
        "hardware": hardware,
        "strategy": chosen.to_json(),
        "input": source.to_json(),
        "rows_per_second": rows_per_second(state, prepared.batch.rows),
        "input_share": input_share,
        "bound": bound.to_json(),
        "seed": training.seed,
        "parameters": prepared.model.parameters,
        **prepared.batch.to_json(),
        "baseline": prepared.baseline,
        "weight": None if problem.weight_column is None else problem.weight_column.name,
        "class_weights": prepared.class_weights,
        **({"span_weights": dict(examples.span_weights)} if examples.span_weights else {}),
        "scales": prepared.scales,
        "warm_start": prepared.warm_start,
        "checkpoints": {"resumed_at_steps": state.resumed},
        "budget": _budget(config, meter),
        "notes": state.notes,
        # Batch scoring checks these files, then executes them.
        **({"code": problem_file.code_files} if problem.reads else {}),
    }


def model_kind(problem_file: ProblemFile, training: Training) -> str:
    """The kind of model: a value of `Training.model`, or "build_model"."""
    return training.model if problem_file.build_model is None else "build_model"


def rows_per_second(state: RunState, batch_size: int) -> float:
    """Trained rows per second, without evaluation and start-up."""
    return round(state.steps * batch_size / state.train_seconds, 1) if state.train_seconds else 0.0


def _budget(config: TrainConfig, meter: Meter) -> dict[str, Any]:
    return {
        **{name: value or None for name, value in dataclasses.asdict(config.options.budget).items()},
        "hours": round(meter.seconds / 3600, 6),
        "cost": None if meter.cost is None else round(meter.cost, 4),
    }
