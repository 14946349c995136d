"""Training forecast: measures some steps here, and estimates time and cost on this and other machines.

Only this machine is measured. Everything else is derived from published peak figures, which no training reaches; so it
is a range, and its assumptions are printed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.loop.run_state import Course
from headrace.components.train.loop.session import Batches, TrainSession
from headrace.core.progress import Progress
from headrace.pipelines.advisor.prices import Machine, PriceTable

_STEPS, _SECONDS, _MOST_SECONDS = 300, 3.0, 30.0
_CALL_SECONDS = 0.5
# The first evaluation includes TensorFlow's tracing. If it takes longer than this, it is not repeated without.
_EVALUATION_SECONDS = 5.0
# An accelerator's step takes at least the launch time of its kernels, however small they are; and large models commonly
# reach at least a tenth of the peak.
_ACCELERATOR_STEP_SECONDS = (0.0003, 0.002)
_REACHED_SHARE = 0.1

Range = tuple[float, float]


@dataclass(frozen=True)
class StepTimes:
    """Measured times on this machine.

    Attributes:
        steps: number of measured steps.
        batch_size: rows per step.
        step_seconds: per step, including the wait for its batch.
        waited_share: fraction of that spent waiting.
        input_seconds: per batch, while nothing trains.
        evaluation_seconds: per evaluation.
    """

    steps: int
    batch_size: int
    step_seconds: float
    waited_share: float
    input_seconds: float
    evaluation_seconds: float


@dataclass(frozen=True)
class Estimate:
    """Estimate of the whole training on a machine, as ranges from the best to the worst case.

    Attributes:
        machine: its type, or "this machine".
        measured: whether it is this machine.
        step_seconds: per step.
        seconds: of the whole training.
        price_per_hour: None if not known.
    """

    machine: str
    measured: bool
    step_seconds: Range
    seconds: Range
    price_per_hour: float | None

    @property
    def cost(self) -> Range | None:
        """Cost of the whole training; None without a price."""
        if self.price_per_hour is None:
            return None
        low, high = self.seconds
        return low / 3600 * self.price_per_hour, high / 3600 * self.price_per_hour


@dataclass(frozen=True)
class TrainingPlan:
    """Measurements, and the estimates for each machine.

    Attributes:
        course: steps and evaluations of the training.
        measured: times on this machine.
        hardware: of this machine.
        estimates: this machine first, then those of the table.
        table: of prices and peak figures.
    """

    course: Course
    measured: StepTimes
    hardware: Hardware
    estimates: tuple[Estimate, ...]
    table: PriceTable

    def to_json(self) -> dict[str, Any]:
        """The forecast as JSON values, with currency and source of the price table."""
        return {
            "steps": self.course.total,
            "evaluations": self.course.evaluations_after(0),
            "measured": dataclasses.asdict(self.measured),
            "hardware": self.hardware.to_json(),
            "estimates": [{**dataclasses.asdict(each), "cost": each.cost} for each in self.estimates],
            "prices": {name: getattr(self.table, name) for name in ("currency", "date", "source")},
        }


def measure(
    trainee: TrainSession,
    batches: Batches,
    batch_size: int,
    *,
    report: Progress,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTimes:
    """Trains some hundred steps, reads as many batches without training, and evaluates once.

    Args:
        trainee: session to train; its weights change.
        batches: of the train split, as `TrainingInput.batches`.
        batch_size: rows per step, over all replicas.
        report: receives progress.
        clock: monotonic, in seconds.
    """
    report("measuring the steps")
    trainee.feed(0)
    # The first steps fill caches and start threads.
    trainee.run(8)
    steps, seconds, waited, count = 0, 0.0, 0.0, 1
    while (steps < _STEPS or seconds < _SECONDS) and seconds < _MOST_SECONDS:
        started = clock()
        trained = trainee.run(count)
        seconds += trainee.agree(clock() - started)
        steps, waited = steps + trained.steps, waited + trained.waited_seconds
        count = max(1, min(count * 8, int(_CALL_SECONDS * steps / seconds))) if seconds else count * 8
    report("measuring the input")
    started = clock()
    _read(batches(0, 0, 1), steps)
    input_seconds = (clock() - started) / steps
    report("measuring an evaluation")
    evaluation_seconds = _evaluation(trainee, clock)
    if evaluation_seconds < _EVALUATION_SECONDS:
        evaluation_seconds = _evaluation(trainee, clock)
    return StepTimes(steps, batch_size, seconds / steps, min(1.0, waited / seconds), input_seconds, evaluation_seconds)


def plan(
    course: Course,
    measured: StepTimes,
    hardware: Hardware,
    table: PriceTable,
    *,
    machine_type: str = "",
    price_per_hour: float | None = None,
) -> TrainingPlan:
    """Estimates the training on this machine and on those of a table.

    Args:
        course: steps and evaluations of the training.
        measured: result of `measure`.
        hardware: of this machine.
        table: machines with prices and peak figures.
        machine_type: of this machine, if it is in the table.
        price_per_hour: of this machine; by default that of its type.

    Raises:
        UsageError: the table does not have the machine type.
    """
    if machine_type and price_per_hour is None:
        price_per_hour = table.machine(machine_type).price_per_hour
    step = measured.step_seconds
    here = _estimate(machine_type or "this machine", (step, step), course, measured, price_per_hour, measured_here=True)
    accelerator = table.accelerator_of(hardware.accelerator)
    others = []
    if accelerator or not hardware.devices:
        for machine in table.machines.values():
            if machine.name != machine_type:
                seconds = step_seconds(measured, hardware, machine, table)
                others.append(_estimate(machine.name, seconds, course, measured, machine.price_per_hour))
    return TrainingPlan(course, measured, hardware, (here, *others), table)


def step_seconds(measured: StepTimes, hardware: Hardware, machine: Machine, table: PriceTable) -> Range:
    """Best and worst time of a step on another machine, in seconds, under the assumptions of `forecast_text`."""
    compute = measured.step_seconds * (1 - measured.waited_share)
    cores = machine.cores / hardware.cores
    # Where steps and their input share the cores, the wait may remain.
    best, worst = compute / max(1.0, cores), measured.step_seconds / min(1.0, cores)
    here, there = table.accelerator_of(hardware.accelerator), machine.accelerator
    if here or there:
        mine, few = _peak(table, here, len(hardware.devices), hardware.cores), _peak(table, there, 1, machine.cores)
        many = _peak(table, there, machine.accelerators, machine.cores)
        least = min(theirs / ours for theirs, ours in zip(few, mine, strict=True))
        most = max(theirs / ours for theirs, ours in zip(many, mine, strict=True))
        if here:
            best, worst = compute / max(1.0, most), compute / min(1.0, least)
        else:
            best, worst = compute / most, compute / (least * _REACHED_SHARE)
        if there:
            best, worst = (max(s, floor) for s, floor in zip((best, worst), _ACCELERATOR_STEP_SECONDS, strict=True))
    return (
        max(best, measured.input_seconds / max(1.0, cores)),
        max(worst, measured.input_seconds / min(1.0, cores)),
    )


def _peak(table: PriceTable, accelerator: str, accelerators: int, cores: int) -> Range:
    """Operations and bytes per second, in the table's units."""
    peak, count = (table.accelerators[accelerator], accelerators) if accelerator else (table.core, cores)
    return peak.teraflops * count, peak.gigabytes_per_second * count


def _estimate(
    name: str,
    seconds: Range,
    course: Course,
    measured: StepTimes,
    price_per_hour: float | None,
    *,
    measured_here: bool = False,
) -> Estimate:
    # An evaluation consists of the same operations, and scales as a step does.
    whole = [
        step * (course.total + course.evaluations_after(0) * measured.evaluation_seconds / measured.step_seconds)
        for step in seconds
    ]
    return Estimate(name, measured_here, seconds, (whole[0], whole[1]), price_per_hour)


def _evaluation(trainee: TrainSession, clock: Callable[[], float]) -> float:
    started = clock()
    trainee.evaluate()
    return clock() - started


def _read(dataset: Any, count: int) -> None:
    @tf.autograph.experimental.do_not_convert
    def seen(number: Any, *_: Any) -> Any:
        return number + 1

    dataset.take(count).reduce(tf.constant(0, tf.int64), seen)
