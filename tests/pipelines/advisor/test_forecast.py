from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.loop.run_state import Course
from headrace.components.train.loop.session import StepsTaken, TrainSession
from headrace.components.train.model.objective import Objective
from headrace.core.errors import UsageError
from headrace.core.progress import silent
from headrace.pipelines.advisor import forecast, forecast_text, prices
from headrace.pipelines.advisor.forecast import StepTimes

CPU = Hardware(devices=(), accelerator=None, cores=2, memory_bytes=None)
H100 = Hardware(devices=("GPU:0",), accelerator="NVIDIA H100 80GB HBM3", cores=16, memory_bytes=None)
UNKNOWN = Hardware(devices=("GPU:0",), accelerator="Tesla K80", cores=16, memory_bytes=None)
MEASURED = StepTimes(
    steps=300, batch_size=64, step_seconds=0.004, waited_share=0.25, input_seconds=0.001, evaluation_seconds=2.0
)
COURSE = Course(rows=64_000, batch_size=64, epochs=9)
PEAK = prices.Peak(1.0, 100.0, ("X",), "its maker")
TABLE = prices.PriceTable(
    "2026-01-01",
    "A price list",
    "USD",
    prices.Peak(0.1, 1.0, (), "its maker"),
    {"X": PEAK, "H100": prices.Peak(10.0, 400.0, ("H100",), "its maker")},
    {
        "small": prices.Machine("small", 1, "", 0, 0.5),
        "large": prices.Machine("large", 8, "", 0, 2.0),
        "one": prices.Machine("one", 2, "X", 1, 4.0),
        "two": prices.Machine("two", 4, "X", 2, 8.0),
    },
)


def linear() -> Any:
    inputs = {"x": keras.Input(shape=(), name="x")}
    return keras.Model(inputs, keras.layers.Dense(1)(keras.ops.expand_dims(inputs["x"], 1)))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(TrainSession):
    """One whose steps take a hundredth of a second of a clock, and whose evaluation takes two."""

    clock: Clock
    step_seconds = 0.01

    def run(self, count: int) -> StepsTaken:
        taken = super().run(count)
        self.clock.now += self.step_seconds * taken.steps
        return StepsTaken(taken.steps, taken.loss_sum, self.step_seconds / 4 * taken.steps)

    def evaluate(self) -> dict[str, float]:
        self.clock.now += 2.0
        return {"loss": 1.0}


@pytest.mark.parametrize(("step_seconds", "steps"), [(0.001, 3000), (0.01, 300), (2.0, 15)])
def test_some_hundred_steps_are_measured_unless_they_are_slow(step_seconds: float, steps: int) -> None:
    clock = Clock()

    def batches(start_step: int, worker: int, workers: int) -> Any:
        return tf.data.Dataset.from_tensors(({"x": tf.ones([64])}, tf.ones([64]))).repeat()

    core, optimizer = linear(), keras.optimizers.Adam()
    optimizer.build(core.trainable_variables)
    objective = Objective("regression", (), 0.0, 1.0, ())
    trainee = Slow(core, objective, optimizer, tf.distribute.get_strategy(), batches, [])
    trainee.clock, trainee.step_seconds = clock, step_seconds
    found = forecast.measure(trainee, batches, 64, report=silent, clock=clock)
    assert steps <= found.steps <= steps * 1.5
    assert found.step_seconds == pytest.approx(step_seconds)
    assert (found.waited_share, found.evaluation_seconds) == (pytest.approx(0.25), pytest.approx(2.0))


def test_this_machine_comes_first_and_is_measured() -> None:
    here = forecast.plan(COURSE, MEASURED, CPU, TABLE, price_per_hour=3.0).estimates[0]
    # 9,000 steps of 4 ms and 9 evaluations of 2 s.
    assert (here.machine, here.measured, here.seconds) == ("this machine", True, (pytest.approx(54), pytest.approx(54)))
    assert here.cost == (pytest.approx(0.045), pytest.approx(0.045))
    assert forecast.plan(COURSE, MEASURED, CPU, TABLE).estimates[0].cost is None


@pytest.mark.parametrize(
    ("machine", "best", "worst"),
    [
        # 3 ms of a step are computing, 1 ms is waiting. Half the cores: twice the time of both at worst.
        ("small", 0.003, 0.008),
        # Four times the cores: a quarter at best, and nothing gained if the step cannot use them.
        ("large", 0.00075, 0.004),
        # Peaks are 5 and 50 times those of two cores; at worst a tenth of the lesser one.
        ("one", 0.001, 0.006),
        # At best twice that, but the input gains from four cores only; at worst the second one is of no use.
        ("two", 0.0005, 0.006),
    ],
)
def test_another_machine_is_a_range(machine: str, best: float, worst: float) -> None:
    found = forecast.step_seconds(MEASURED, CPU, TABLE.machines[machine], TABLE)
    assert found == (pytest.approx(best), pytest.approx(worst))


def test_a_step_of_an_accelerator_has_a_least_time() -> None:
    fast = StepTimes(300, 64, 0.0004, 0.0, 0.00001, 0.1)
    assert forecast.step_seconds(fast, CPU, TABLE.machines["one"], TABLE) == (0.0003, 0.002)


def test_from_an_accelerator_to_a_lesser_one() -> None:
    # A tenth of the operations and a quarter of the bandwidth; at best the step was too small to use more.
    found = forecast.step_seconds(MEASURED, H100, TABLE.machines["one"], TABLE)
    assert found == (pytest.approx(0.003), pytest.approx(0.03))


def test_an_unknown_accelerator_is_not_extrapolated_from() -> None:
    made = forecast.plan(COURSE, MEASURED, UNKNOWN, TABLE)
    assert [estimate.machine for estimate in made.estimates] == ["this machine"]
    assert "Nothing is extrapolated: the price table has no peak figures of Tesla K80." in forecast_text.text(made)


def test_this_machines_type_is_not_extrapolated() -> None:
    made = forecast.plan(COURSE, MEASURED, CPU, TABLE, machine_type="small")
    assert [(e.machine, e.measured) for e in made.estimates] == [
        ("small", True),
        ("large", False),
        ("one", False),
        ("two", False),
    ]
    assert made.estimates[0].price_per_hour == 0.5
    with pytest.raises(UsageError, match="not in the price table"):
        forecast.plan(COURSE, MEASURED, CPU, TABLE, machine_type="huge")


def test_the_text_says_what_is_measured_and_what_is_not() -> None:
    lines = forecast_text.text(forecast.plan(COURSE, MEASURED, CPU, TABLE)).splitlines()
    assert lines[0] == (
        "Measured here (2 cores): 300 steps of 64 rows, 250 steps/s, 16,000 rows/s; 25% of the time waiting for "
        "input, which alone reads 64,000 rows/s; an evaluation takes 2 s."
    )
    assert lines[1] == "The whole training is 9,000 steps and 9 evaluations at most: early stopping may end it earlier."
    assert [" ".join(line.split()) for line in lines[3:6]] == [
        "machine per hour steps/s time cost speed",
        "this machine ? 250 54 s ? 1x measured",
        "small 0.50 125 to 333 40 s to 2 min 0.0056 to 0.015 USD 0.5x to 1.3x extrapolated",
    ]
    assert lines[-2].startswith("Measured: the first line. Extrapolated: all others")
    assert lines[-1] == (
        "Prices: USD, 2026-01-01. A price list. For the cost on this machine set --machine-type or --price-per-hour."
    )


def test_the_table_that_comes_along_makes_a_plan() -> None:
    made = forecast.plan(COURSE, MEASURED, CPU, prices.load())
    assert (len(made.estimates), made.estimates[1].machine) == (12, "e2-standard-4")
