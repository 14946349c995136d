"""Description of the devices and settings of a training, with reasons: a pure function of machine and options."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.components.train.devices.batch import batch_of
from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.devices.strategy import Strategy, choose
from headrace.components.train.loop.budget import duration
from headrace.components.train.options import Options
from headrace.core.problem import Training


def description(training: Training, options: Options, machine: Hardware) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each line.

    Args:
        training: of the problem, with overrides applied.
        options: of the training.
        machine: its hardware.

    Raises:
        UsageError: the options are not available on the machine, or the batch is not divisible by its replicas.
    """
    chosen = choose(machine, options.distribution)
    yield "Machine", _machine(machine)
    yield "Strategy", f"{chosen.name}: {chosen.why}"
    yield "Devices", ", ".join(chosen.devices or (chosen.device,))
    yield "Precision", f"{chosen.precision}: {chosen.precision_why}; weights, and the exported model, are float32"
    yield "XLA", "yes: the step is compiled" if chosen.xla else "no: not requested"
    yield from _batch(training, chosen)
    if chosen.workers > 1 or not chosen.chief:
        kind = "the chief, which writes the outputs" if chosen.chief else "a worker, which writes nothing"
        yield "Cluster", f"{chosen.workers} processes train; this one is {kind}"
    yield "Budget", _budget(options)


def _machine(machine: Hardware) -> str:
    accelerators = f"{len(machine.devices)} x {machine.accelerator}" if machine.devices else "no accelerator"
    if machine.tpu:
        accelerators = f"the TPU {machine.tpu}"
    memory = "" if machine.memory_bytes is None else f", {machine.memory_bytes / 1e9:.1f} GB of memory free"
    return f"{machine.cores} cores, {accelerators}{memory}"


def _batch(training: Training, chosen: Strategy) -> Iterator[tuple[str, str]]:
    if chosen.name == "TPU":
        yield "Batch", f"{training.batch_size:,} rows per step, over the cores of the TPU, of static shape"
        return
    replicas = max(1, len(chosen.devices)) * chosen.workers
    batch = batch_of(training, replicas)
    scaling = training.learning_rate_scaling
    rate = f"learning rate {batch.learning_rate:g}"
    if scaling != "none":
        rate += f" ({training.learning_rate:g}, scaled: {scaling})"
    spread = f": {batch.per_replica:,} on each of {batch.replicas} replicas" if batch.replicas > 1 else ""
    yield "Batch", f"{batch.rows:,} rows per step{spread}; {rate}"


def _budget(options: Options) -> str:
    budget = options.budget
    parts = [f"{option} ({duration(hours * 3600)})" for hours, option in budget.limits]
    if budget.target:
        parts.append(budget.target)
    return f"ends at the first of: {'; '.join(parts)}" if parts else "none"
