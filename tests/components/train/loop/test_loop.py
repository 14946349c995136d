from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.loop import budget, evaluation, loop
from headrace.components.train.loop.checkpoints import Checkpoints
from headrace.components.train.loop.hooks import Hooks
from headrace.components.train.loop.interruption import Interruption
from headrace.components.train.loop.run_state import Course, RunState
from headrace.components.train.loop.session import StepsTaken
from headrace.components.train.loop.session import TrainSession as RealTrainSession
from headrace.components.train.model.objective import Objective
from headrace.components.train.options import Budget, Checkpointing
from headrace.core.errors import PlatformError, ProblemError
from headrace.core.problem import Training
from headrace.core.progress import silent

OBJECTIVE = Objective("regression", (), mean=0.0, deviation=2.0, shares=())
ROWS, BATCH = 100, 10
IDENTITY = "0123456789abcdef"


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def linear() -> Any:
    inputs = {"x": keras.Input(shape=(), name="x")}
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(keras.ops.expand_dims(inputs["x"], 1))
    return keras.Model(inputs, outputs)


def weights(core: Any) -> list[Any]:
    return [weight.value.numpy() for weight in core.weights]


def batches(slope: float = 3.0) -> Any:
    x = tf.random.stateless_uniform([ROWS], [1, 2])
    return tf.data.Dataset.from_tensor_slices(({"x": x}, slope * x)).batch(BATCH).repeat()


class TrainSession(RealTrainSession):
    """One whose evaluations are given, and whose steps take a second of a clock."""

    def __init__(self, core: Any, losses: Iterator[float], training: Training, data: Any, clock: Clock | None) -> None:
        optimizer = keras.optimizers.Adam(training.learning_rate)
        optimizer.build(core.trainable_variables)

        def part(start_step: int, worker: int, workers: int) -> Any:
            return data.skip(start_step)

        super().__init__(core, OBJECTIVE, optimizer, tf.distribute.get_strategy(), part, [])
        self.losses, self.clock, self.calls = losses, clock, list[int]()
        self.seen = list[Any]()
        self.before_call: Callable[[], None] = lambda: None

    @property
    def taken(self) -> int:
        return int(self.optimizer.iterations)

    def run(self, count: int) -> StepsTaken:
        self.before_call()
        self.calls.append(count)
        if self.clock is not None:
            self.clock.now += count
        return super().run(count)

    def evaluate(self) -> dict[str, float]:
        self.seen.append(weights(self.core))
        return {"loss": next(self.losses)}


def trainee(
    core: Any, losses: Iterator[float], training: Training, data: Any = None, clock: Clock | None = None
) -> TrainSession:
    return TrainSession(core, losses, training, batches() if data is None else data, clock)


def fit(
    core: Any, losses: Iterator[float], training: Training, data: Any = None, report: Any = silent, **further: Any
) -> RunState:
    made = trainee(core, losses, training, data)
    return loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=report, **further)


def falling() -> Iterator[float]:
    return (float(loss) for loss in itertools.count(100, -1))


@pytest.mark.parametrize(
    ("rows", "batch", "epochs", "steps", "ends"),
    [
        (100, 10, 3, None, [10, 20, 30]),
        (100, 30, 3, None, [4, 7, 10]),
        (100, 100, 2, None, [1, 2]),
        (100, 10, 3, 25, [10, 20, 25]),
        (100, 10, 1, 30, [10, 20, 30]),
        (100, 30, 9, 1, [1]),
    ],
)
def test_epochs_end_when_every_row_was_seen(
    rows: int, batch: int, epochs: int, steps: int | None, ends: list[int]
) -> None:
    course = Course(rows, batch, epochs, steps)
    assert [course.end(epoch) for epoch in range(len(ends) + 1)] == [0, *ends]
    assert course.total == ends[-1]
    for step in range(course.total + 1):
        assert course.evaluations_after(step) == sum(end > step for end in ends)


def test_it_takes_adams_steps() -> None:
    core = linear()
    state = fit(core, falling(), Training(steps=3, learning_rate=0.01))
    expected = linear()
    optimizer = keras.optimizers.Adam(0.01)
    total = 0.0
    for features, labels in batches().take(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(expected(features)[:, 0] - labels)) / 4
        optimizer.apply(
            tape.gradient(loss, [v.value for v in expected.trainable_variables]), expected.trainable_variables
        )
        total += float(loss)
    np.testing.assert_allclose(weights(core)[0], weights(expected)[0], rtol=1e-6)
    # What is reported is in the label's own unit, squared.
    assert state.history["loss"] == [pytest.approx(total / 3 * 4, rel=1e-6)]
    assert 0 <= state.input_seconds <= state.train_seconds


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 37])
def test_steps_are_exact_and_win_over_epochs(steps: int) -> None:
    state = fit(linear(), falling(), Training(steps=steps, epochs=1))
    assert state.steps == steps
    assert state.stopped == f"steps: all {steps} done"
    assert len(state.history["eval_loss"]) == math.ceil(steps / 10)


def test_early_stopping_goes_back_to_the_best_weights() -> None:
    training = Training(epochs=30, patience=3, learning_rate=0.1)
    made = trainee(linear(), iter([5.0, 3.0, 4.0, 3.0, 3.5, 1.0]), training)
    state = loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=silent)
    assert (state.best_epoch, state.steps, len(made.seen)) == (2, 50, 5)
    assert state.stopped == "early stopping: 3 epochs without a better eval loss than 3 of epoch 2"
    for weight, best, last in zip(weights(made.core), made.seen[1], made.seen[-1], strict=True):
        np.testing.assert_array_equal(weight, best)
        assert not np.array_equal(best, last)


def test_progress_says_how_far_it_is() -> None:
    told: list[tuple[str, int | None, int | None]] = []

    def report(message: str, *, done: int | None = None, total: int | None = None, **_: object) -> None:
        told.append((message, done, total))

    clock = Clock()
    state = fit(linear(), falling(), Training(epochs=2), report=report, clock=clock)
    assert told[1] == (f"epoch 2: loss {state.history['loss'][1]:.4g}, eval loss 99", 20, 20)
    assert len(told) == 2


def test_calls_last_about_half_a_second_and_cut_nothing() -> None:
    training = Training(epochs=40, learning_rate=0.05)
    whole, parts = linear(), linear()
    clock = Clock()
    made = trainee(parts, falling(), training)

    def tick() -> None:
        clock.now += 0.125

    made.before_call = tick
    told: list[str] = []
    told_too: Any = lambda message, **_: told.append(message)  # noqa: E731
    # An eighth of a second a call at first: the calls grow up to four steps.
    loop.fit(made, training, rows=ROWS * 4, batch_size=BATCH, report=told_too, clock=clock)
    assert made.calls[:4] == [1, 4, 16, 19]
    assert told[0].startswith("epoch 1: loss")
    loop.fit(trainee(whole, falling(), training), training, rows=ROWS * 4, batch_size=BATCH, report=silent)
    np.testing.assert_array_equal(weights(whole)[0], weights(parts)[0])


def test_long_epochs_report_once_a_second() -> None:
    clock, told = Clock(), list[str]()
    training = Training(epochs=1)
    made = trainee(linear(), falling(), training, clock=clock)
    report: Any = lambda message, **_: told.append(message)  # noqa: E731
    loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=report, clock=clock)
    # A step takes a second, which makes every call one step.
    assert made.calls == [1] * 10
    assert told[:-1] == [f"epoch 1: step {step}" for step in range(1, 10)]


def test_a_loss_that_is_not_finite_names_the_step_and_the_learning_rate() -> None:
    x = tf.ones([ROWS])
    labels = tf.where(tf.range(ROWS) == 34, np.nan, 1.0)
    data = tf.data.Dataset.from_tensor_slices(({"x": x}, labels)).batch(BATCH).repeat()
    asked = list[int]()

    def explain(step: int, state: RunState) -> str:
        asked.append(step)
        return "x is 1"

    with pytest.raises(ProblemError) as caught:
        fit(linear(), falling(), Training(learning_rate=0.25), data, explain=explain)
    assert "step 4: the loss is not finite" in caught.value.paragraph
    assert "at learning rate 0.25. x is 1." in caught.value.paragraph
    assert asked == [3]


def test_an_eval_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ProblemError, match="step 10: the loss on the eval split is not finite"):
        fit(linear(), iter([math.inf]), Training())


def test_losses_of_layers_are_trained_on() -> None:
    inputs = {"x": keras.Input(shape=(), name="x")}
    dense = keras.layers.Dense(
        1, kernel_initializer="ones", use_bias=False, kernel_regularizer=keras.regularizers.L2(1.0)
    )
    core = keras.Model(inputs, dense(keras.ops.expand_dims(inputs["x"], 1)))
    fit(core, falling(), Training(steps=50, learning_rate=0.1), batches(slope=1.0))
    # The data alone would leave it at 1.
    assert 0 < weights(core)[0][0, 0] < 0.5


def kept_in(folder: Path, clock: Clock | None = None, **options: Any) -> Checkpoints:
    options = {"steps": 7, "keep": 3, **options}
    kept = Checkpoints(Checkpointing(str(folder), **options), IDENTITY, tell=silent, clock=clock or Clock())
    kept.open()
    return kept


def test_a_training_that_was_cut_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    training = Training(epochs=6, learning_rate=0.05)
    losses = [9.0, 4.0, 6.0, 5.0, 3.0, 8.0]
    whole = linear()
    uninterrupted = fit(whole, iter(losses), training)

    class Cut(Exception):
        pass

    ended = list[RunState]()
    for stop_after in [3, 17, 22, 22, 41, 1000]:
        made = trainee(linear(), iter(()), training, clock=Clock())
        made.evaluate = lambda made=made: {"loss": losses[made.taken // 10 - 1]}  # type: ignore[method-assign,misc]

        def cut(made: TrainSession = made, stop_after: int = stop_after) -> None:
            if made.taken >= stop_after:
                raise Cut

        made.before_call = cut
        with suppress(Cut):
            state = loop.fit(
                made,
                training,
                rows=ROWS,
                batch_size=BATCH,
                report=silent,
                checkpoints=kept_in(tmp_path, steps=3),
                clock=made.clock or Clock(),
            )
            ended.append(state)
    (state,) = ended
    assert state.history == uninterrupted.history
    assert (state.best_epoch, state.stopped) == (5, uninterrupted.stopped)
    # At most the steps of one interval are taken again.
    assert state.resumed == [3, 15, 21, 39]
    for weight, expected in zip(weights(made.core), weights(whole), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    training = Training(epochs=3, learning_rate=0.05)
    signals, kept = Interruption(), kept_in(tmp_path, steps=None)
    made = trainee(linear(), falling(), training, clock=Clock())
    made.before_call = lambda: setattr(signals, "requested", len(made.calls) == 12)
    with pytest.raises(PlatformError) as caught:
        loop.fit(
            made,
            training,
            rows=ROWS,
            batch_size=BATCH,
            report=silent,
            checkpoints=kept,
            signals=signals,
            clock=made.clock or Clock(),
        )
    assert caught.value.exit_status == 75
    assert caught.value.where == "step 13 of 30"
    assert caught.value.fix == "Its state is saved: start the same command again, and it resumes from step 13"
    assert kept.steps() == [13]


def test_sigterm_without_a_folder_says_that_nothing_is_kept() -> None:
    signals = Interruption()
    training = Training()
    made = trainee(linear(), falling(), training)
    made.before_call = lambda: setattr(signals, "requested", True)
    with pytest.raises(PlatformError, match="Nothing was saved"):
        loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=silent, signals=signals)


@pytest.mark.parametrize(
    ("bounds", "steps", "stopped"),
    [
        ({"max_hours": 13 / 3600}, 12, "max_hours 0.00361111: 0.00333 h used"),
        # Two dollars a second, and 25 of them.
        ({"max_cost": 25.0, "price_per_hour": 7200.0}, 12, "max_cost 25: 0.00333 h, 24.00 used"),
    ],
)
def test_a_budget_ends_training_before_it_is_overdrawn(bounds: dict[str, float], steps: int, stopped: str) -> None:
    clock = Clock()
    training = Training(epochs=30)
    made = trainee(linear(), falling(), training, clock=clock)
    meter = budget.Meter(Budget(**bounds), clock=clock)  # type: ignore[arg-type]
    state = loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=silent, meter=meter, clock=clock)
    assert (state.steps, state.stopped) == (steps, stopped)
    # What was paid for is evaluated, and exported if it is the best.
    assert state.history["steps"] == [10, steps]
    assert state.best_epoch == 2
    assert state.seconds == steps


def test_hours_of_earlier_attempts_count(tmp_path: Path) -> None:
    training = Training(epochs=30)

    def attempt(hours: float) -> RunState:
        clock = Clock()
        made = trainee(linear(), falling(), training, clock=clock)
        meter = budget.Meter(Budget(max_hours=hours / 3600), clock=clock)
        kept = kept_in(tmp_path, clock, steps=5)
        return loop.fit(
            made, training, rows=ROWS, batch_size=BATCH, report=silent, checkpoints=kept, meter=meter, clock=clock
        )

    assert attempt(18).steps == 17
    # It goes on from step 15, which took 15 seconds.
    state = attempt(25)
    assert (state.resumed, state.steps, state.seconds) == ([15], 24, 24)


def test_a_target_ends_training_with_the_weights_that_reached_it() -> None:
    training = Training(epochs=9, learning_rate=0.1)
    made = trainee(linear(), iter(()), training)
    measured = iter([(5.0, 0.9), (3.0, 0.8), (4.0, 0.7), (1.0, 0.1)])

    def evaluate() -> dict[str, float]:
        made.seen.append(weights(made.core))
        loss, error = next(measured)
        return {"loss": loss, "mean_absolute_error": error}

    made.evaluate = evaluate  # type: ignore[method-assign]
    meter = budget.Meter(Budget(target="mean_absolute_error=0.7"))
    state = loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=silent, meter=meter)
    assert state.stopped == "target: mean_absolute_error 0.7, requested was 0.7"
    assert state.best_epoch == 3
    assert state.history["eval_mean_absolute_error"] == [0.9, 0.8, 0.7]
    np.testing.assert_array_equal(weights(made.core)[0], made.seen[2][0])


def test_after_a_minute_it_forecasts_and_warns() -> None:
    clock, told = Clock(), list[str]()
    training = Training(epochs=100, patience=100)
    made = trainee(linear(), falling(), training, clock=clock)
    meter = budget.Meter(Budget(max_hours=0.1, price_per_hour=36.0), clock=clock)
    report: Any = lambda message, **_: told.append(message)  # noqa: E731
    state = loop.fit(made, training, rows=ROWS, batch_size=BATCH, report=report, meter=meter, clock=clock)
    expected = (
        "forecast: 16 min remaining, 17 min in total, 10.00 at 36 per hour, unless early stopping ends it sooner. "
        "Warning: max_hours 0.1 is too small: it ends training after 32% of the remaining time"
    )
    assert state.notes == [expected]
    assert told.index(expected) == told.index("epoch 6: step 59") + 1
    assert state.steps == 359


class Recorder(Hooks):
    """Writes down what it is called with."""

    def __init__(self, *, each_step: bool = False, stop_after: int = 1000) -> None:
        self.each_step, self.calls, self.stop_after = each_step, list[Any](), stop_after
        self.counted = 0

    @property
    def stopped(self) -> str:
        return "a callback" if self.counted >= self.stop_after else ""

    def on_train_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_begin(self, epoch: int) -> None:
        self.calls.append(("epoch", epoch))

    def on_train_batch_begin(self, step: int) -> None:
        self.calls.append(step)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.counted += 1
        self.calls.append((epoch, sorted(logs)))

    def on_train_end(self) -> None:
        self.calls.append("end")

    def state(self) -> list[dict[str, Any]]:
        # As a callback that looks for the least value begins.
        return [{"counted": self.counted, "best": math.inf, "seen": [1.5, -math.inf]}]

    def restore(self, state: list[dict[str, Any]]) -> None:
        self.counted = state[0]["counted"] if state else 0
        self.restored = state


def test_hooks_are_called_where_keras_calls_them() -> None:
    hooks = Recorder()
    fit(linear(), falling(), Training(epochs=2), hooks=hooks)
    ends = [(epoch, ["loss", "val_loss"]) for epoch in range(2)]
    assert hooks.calls == ["begin", ("epoch", 0), ends[0], ("epoch", 1), ends[1], "end"]
    seeing = Recorder(each_step=True)
    fit(linear(), falling(), Training(steps=3), hooks=seeing)
    assert seeing.calls == ["begin", ("epoch", 0), 0, 1, 2, ends[0], "end"]


def test_hooks_end_training_and_keep_their_state(tmp_path: Path) -> None:
    hooks = Recorder(stop_after=4)
    training = Training(epochs=9)
    made = trainee(linear(), iter([3.0, 2.0]), training)
    with pytest.raises(StopIteration):
        loop.fit(
            made,
            training,
            rows=ROWS,
            batch_size=BATCH,
            report=silent,
            hooks=hooks,
            checkpoints=kept_in(tmp_path, steps=5),
        )
    hooks = Recorder(stop_after=4)
    again = trainee(linear(), falling(), training)
    state = loop.fit(
        again, training, rows=ROWS, batch_size=BATCH, report=silent, hooks=hooks, checkpoints=kept_in(tmp_path, steps=5)
    )
    assert (state.resumed, state.stopped, hooks.counted, state.steps) == ([30], "a callback", 4, 40)
    assert hooks.restored == [{"counted": 2, "best": math.inf, "seen": [1.5, -math.inf]}]


def test_evaluation_is_the_mean_over_rows_of_unequal_blocks() -> None:
    blocks = [({"x": tf.ones([3])}, tf.fill([3], 2.0)), ({"x": tf.ones([1])}, tf.fill([1], 4.0))]
    evaluate = evaluation.evaluator(linear(), OBJECTIVE, blocks)
    assert evaluate()["loss"] == pytest.approx((3 * 4 + 16) / 4)
