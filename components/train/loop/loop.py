"""Training loop: epochs, early stopping, checkpoints, budgets and signals around the steps of a `TrainSession`.

Steps run in calls of about half a second. Signals, clocks and budgets are checked between calls. The number of steps
per call has no effect on the trained weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NoReturn

import tensorflow as tf

from headrace.components.train.loop import budget
from headrace.components.train.loop.checkpoints import Checkpoints, not_finite
from headrace.components.train.loop.hooks import Hooks
from headrace.components.train.loop.interruption import Interruption
from headrace.components.train.loop.run_state import Course, RunState
from headrace.components.train.loop.session import TrainSession
from headrace.components.train.options import Budget
from headrace.core.errors import HeadraceError, PlatformError, ProblemError
from headrace.core.problem import Training
from headrace.core.progress import Progress

# Seconds per call: short enough to react to a signal and to show progress; the overhead of a call is below 1 ms.
_CALL_SECONDS = 0.5
_SECONDS_BETWEEN_REPORTS = 1.0
# Each process has its own clock and callbacks.
_ANOTHER = "another worker: its budget is used up, or one of its callbacks stopped the training"
# Errors that TensorFlow raises after another process of the cluster has ended.
_LOST = (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError, tf.errors.UnavailableError)


def fit(
    trainee: TrainSession,
    training: Training,
    *,
    rows: int,
    batch_size: int,
    report: Progress,
    checkpoints: Checkpoints | None = None,
    meter: budget.Meter | None = None,
    signals: Interruption | None = None,
    hooks: Hooks | None = None,
    explain: Callable[[int, RunState], str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RunState:
    """Trains until the eval loss stops improving, or the epochs, the steps or the budget are used up.

    Args:
        trainee: the session to train; afterwards its model has the best weights.
        training: epochs, steps and patience.
        rows: number of rows of the train split: an epoch is one pass over them.
        batch_size: rows per step, over all replicas.
        report: called with the progress.
        checkpoints: where the state is saved, and from where an earlier attempt of the run is resumed.
        meter: of the budget.
        signals: checked between calls.
        hooks: Keras' callbacks.
        explain: returns the likely cause of a loss that is not finite, from its step (from 0) and the state.
        clock: seconds from any origin.

    Raises:
        ProblemError: the loss is not finite.
        PlatformError: SIGTERM arrived and the state is saved, or another worker was lost.
    """
    loop = _Loop(trainee, training, Course.of(training, rows, batch_size), report, clock)
    loop.checkpoints, loop.explain, loop.hooks = checkpoints, explain, hooks or Hooks()
    loop.signals, loop.meter = signals or Interruption(), meter or budget.Meter(Budget(), clock=clock)
    try:
        with loop.signals.deferred():
            return loop.run()
    except _LOST as error:
        raise PlatformError(
            "another worker was lost",
            where=loop.place(),
            received=_cause(error),
            fix="Start all workers again: they resume from the last checkpoint",
        ) from error
    finally:
        if checkpoints is not None:
            checkpoints.wait()


class _Loop:
    """A training in progress and its parts."""

    checkpoints: Checkpoints | None
    meter: budget.Meter
    signals: Interruption
    hooks: Hooks
    explain: Callable[[int, RunState], str] | None

    def __init__(
        self, trainee: TrainSession, training: Training, course: Course, report: Progress, clock: Callable[[], float]
    ) -> None:
        self.trainee, self.training, self.course = trainee, training, course
        self.report, self.clock = report, clock
        self.state = RunState()
        # Names of variables with an initial value that is not finite, such as a maximum that starts at -infinity.
        self.unbounded: set[str] = set()
        self.pace = budget.Pace(0.0)
        self.call_seconds = 0.0
        self.attempt_steps, self.attempt_seconds = 0, 0.0
        self.reported = self.began = clock()
        self.forecast_made = False

    def run(self) -> RunState:
        """Trains from the beginning or the newest checkpoint to the end."""
        if self.checkpoints is not None:
            if self.trainee.chief:
                self.checkpoints.clear()
            self.unbounded = RunState.names(not_finite(self.trainee.state()))
            self.resume(self.checkpoints)
            self.checkpoints.begin(self.state.step)
        state = self.state
        self.trainee.feed(state.step)
        self.reported = self.began = self.clock()
        self.hooks.on_train_begin()
        self.hooks.restore(state.callbacks)
        while not state.stopped:
            begin = self.course.end(state.epoch - 1)
            if state.step == begin:
                self.trainee.reset_logs()
            self.hooks.on_epoch_begin(state.epoch - 1)
            self.train_to(self.course.end(state.epoch))
            self.end_epoch(state.step - begin)
        self.hooks.on_train_end()
        self.trainee.restore(state.best, model_only=True)
        state.seconds = self.meter.seconds
        return state

    def resume(self, checkpoints: Checkpoints) -> None:
        """Resumes from the newest checkpoint that every worker can read."""
        checkpoint = checkpoints.newest()
        # `agree` returns the maximum: of the negated steps, that is the oldest of the workers' newest checkpoints.
        step = int(-self.trainee.agree(-float(checkpoint.step if checkpoint else 0)))
        if checkpoint is not None and checkpoint.step > step:
            checkpoint = checkpoints.newest(at_most=step)
        own_step = checkpoint.step if checkpoint else 0
        if self.trainee.agree(float(own_step != step)):
            raise PlatformError(
                "the workers do not see the same checkpoints",
                where=checkpoints.folder,
                expected=f"the checkpoint of step {step}, in a folder or bucket that all workers can access",
                received=f"the checkpoint of step {own_step}",
            )
        if checkpoint is None:
            return
        self.state, now = RunState.load(checkpoint.facts, checkpoint.arrays)
        self.trainee.restore(now)
        self.meter.resume(self.state.seconds)
        self.state.resumed.append(self.state.step)
        self.note(f"resumes from the checkpoint of step {self.state.step}")

    def train_to(self, end: int) -> None:
        """Trains to the end of the epoch, unless something ends the training sooner."""
        state, count = self.state, 1
        while state.step < end and not state.stopped:
            # The number of steps grows slowly: the first calls are not typical.
            lasting = int(_CALL_SECONDS / self.pace.step_seconds) if self.pace.step_seconds else 1
            count = 1 if self.hooks.each_step else max(1, min(count * 8, lasting))
            until_saved = self.checkpoints.steps_to_next(state.step) if self.checkpoints is not None else None
            self.take(min(count, end - state.step, until_saved or count))
            self.look_around()
            if state.step < end and self.clock() - self.reported >= _SECONDS_BETWEEN_REPORTS:
                self.reported = self.clock()
                self.report(f"epoch {state.epoch}: step {state.step}", done=state.step, total=self.course.total)

    def take(self, count: int) -> None:
        """Runs `count` steps in one call."""
        state, step = self.state, self.state.step
        if self.hooks.each_step:
            self.hooks.on_train_batch_begin(step)
        started = self.clock()
        taken = self.trainee.run(count)
        seconds = self.clock() - started
        if not math.isfinite(taken.loss_sum):
            self.refuse("the loss", step + taken.steps)
        state.took(taken.steps, taken.loss_sum, seconds, taken.waited_seconds)
        self.attempt_steps += taken.steps
        self.attempt_seconds += seconds
        # Equal in all workers: each must run the same number of steps in the next call.
        self.call_seconds = self.trainee.agree(seconds)
        self.pace = budget.Pace(self.call_seconds / taken.steps, self.pace.evaluation_seconds)
        if self.hooks.each_step:
            self.hooks.on_train_batch_end(step, {"loss": taken.loss_sum / taken.steps})

    def look_around(self) -> None:
        """Between two calls: signals, checkpoints, budget, callbacks."""
        state, agree = self.state, self.trainee.agree
        if not self.forecast_made and self.clock() - self.began >= budget.FORECAST_AFTER_SECONDS:
            self.forecast()
        due = self.checkpoints is not None and self.checkpoints.due(state.step, self.call_seconds)
        exhausted = self.meter.exhausted(self.call_seconds + (self.pace.evaluation_seconds or 0.0))
        ended = exhausted or self.hooks.stopped
        # Usually one exchange with the other workers, because each takes a network round trip.
        if not agree(float(self.signals.requested or due or bool(ended))):
            return
        if agree(float(self.signals.requested)):
            self.interrupt()
        if agree(float(due)):
            self.save()
        if agree(float(bool(ended))):
            state.stopped = ended or _ANOTHER

    def end_epoch(self, steps: int) -> None:
        """Evaluates, stores the weights if they are the best, and decides whether to continue."""
        state = self.state
        started = self.clock()
        measured = self.trainee.evaluate()
        self.pace = budget.Pace(self.pace.step_seconds, self.trainee.agree(self.clock() - started))
        if not math.isfinite(measured["loss"]):
            self.refuse("the loss on the eval split", state.step)
        best = state.evaluated(steps, measured, self.trainee.logs())
        entry = {name: values[-1] for name, values in state.history.items() if name != "steps"}
        text = f"epoch {state.epoch}: loss {entry['loss']:.4g}, eval loss {entry['eval_loss']:.4g}"
        self.report(text, done=state.step, total=self.course.total)
        self.hooks.on_epoch_end(state.epoch - 1, {n.replace("eval_", "val_", 1): value for n, value in entry.items()})
        target = self.meter.reached(measured)
        if best or target:
            # The user requested the weights that reach the target, even if an earlier epoch had a smaller loss.
            state.best_epoch, state.best = state.epoch, self.trainee.state(model_only=True)
        state.stopped = state.stopped or target or self.over() or self.hooks.stopped
        if self.trainee.agree(float(bool(state.stopped))) and not state.stopped:
            state.stopped = _ANOTHER
        if not state.stopped:
            state.epoch += 1
            if self.trainee.agree(float(self.signals.requested)):
                self.interrupt()

    def over(self) -> str:
        """The reason for which the training ends after this epoch; "" if it continues."""
        state, patience = self.state, self.training.patience
        if state.step >= self.course.total:
            return f"steps: all {state.step} done" if self.training.steps else f"epochs: all {state.epoch} done"
        if state.epoch - state.best_epoch >= patience:
            return (
                f"early stopping: {patience} epochs without a better eval loss than {state.best_loss:.4g} "
                f"of epoch {state.best_epoch}"
            )
        return ""

    def save(self) -> None:
        """Passes the state to the thread that writes checkpoints."""
        now = self.trainee.state()
        if self.checkpoints is None:
            return
        self.state.seconds, self.state.callbacks = self.meter.seconds, self.hooks.state()
        if self.trainee.chief:
            self.checkpoints.save(
                self.state.step, self.state.to_json(), self.state.arrays(now), unbounded=self.unbounded
            )
        else:
            self.checkpoints.begin(self.state.step)

    def interrupt(self) -> NoReturn:
        """Saves the state and raises the error that explains how to resume."""
        fix = "Nothing was saved, because no folder for checkpoints is set: set --checkpoints DIR next time"
        if self.checkpoints is not None:
            self.save()
            try:
                self.checkpoints.wait(strict=True)
                fix = f"Its state is saved: start the same command again, and it resumes from step {self.state.step}"
            except HeadraceError as error:
                fix = f"Its state could not be saved ({error.what}): it resumes from the last checkpoint"
        raise self.signals.error(where=self.place(), fix=fix)

    def refuse(self, what: str, step: int) -> NoReturn:
        """Ends a training whose loss is not finite; the last checkpoint is not changed."""
        rate = self.trainee.learning_rate
        cause = self.explain(step - 1, self.state) if self.explain is not None else ""
        raise ProblemError(
            f"{what} is not finite",
            where=f"step {step}",
            expected="a number",
            received=f"NaN or infinity, at learning rate {rate:g}" + (f". {cause}" if cause else ""),
            fix="Lower Training(learning_rate=...), and check statistics.json for extreme values",
        )

    def forecast(self) -> None:
        """Reports the forecast of time and cost, and whether the budget suffices."""
        self.forecast_made = True
        pace = budget.Pace(self.attempt_seconds / self.attempt_steps, self.pace.evaluation_seconds)
        step, course = self.state.step, self.course
        forecast = self.meter.forecast(pace, steps=course.total - step, evaluations=course.evaluations_after(step))
        self.note(forecast.text)

    def note(self, text: str) -> None:
        """Reports a message and stores it in the record of the training."""
        self.state.notes.append(text)
        self.report(text, done=self.state.step, total=self.course.total, lasting=True)

    def place(self) -> str:
        """The progress, for people."""
        return f"step {self.state.step} of {self.course.total}"


def _cause(error: Any) -> str:
    """TensorFlow's message about a process that does not answer, without headline and stack."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    causes = [line for line in lines if line and not line.startswith(("Graph execution error", "Detected at", "File"))]
    return f"{type(error).__name__}: {causes[0] if causes else ''}"[:200]
