"""Training trackers: TensorBoard logs on request, and MLflow where it is installed and MLFLOW_TRACKING_URI is set.

Both are Keras callbacks of their projects. A failure or a timeout in one of them ends the tracking with one warning,
and never ends the training.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import keras

from headrace.components.train.config import TrainConfig
from headrace.components.train.loop.hooks import Hooks, Wrapper
from headrace.core import storage
from headrace.core.errors import UsageError

# A tracking server answers in well under a second; MLflow creates a new database in about ten seconds.
SECONDS = 60.0
# Defaults for MLflow's limits, which the user's environment overrides. With MLflow's own, one request may be retried
# for half an hour, and a process waits at its end for the requests of the metrics.
_MLFLOW_BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def tensorboard_folder(config: TrainConfig) -> str:
    """The folder of the TensorBoard logs: next to the Model, because event files hold times and host names."""
    return storage.join(f"{config.output.rstrip('/')}.tensorboard", config.identity)


def check(config: TrainConfig) -> None:
    """Refuses a request for TensorBoard logs that cannot be written.

    Raises:
        UsageError: TensorBoard is not installed, or the Model's output is in an object store.
    """
    if not config.options.tracking.tensorboard:
        return
    if find_spec("tensorboard") is None:
        raise UsageError(
            "tensorboard is not installed", where="--tensorboard", fix="Install it: pip install 'headrace[tensorboard]'"
        )
    if storage.is_remote(config.output):
        raise UsageError(
            "TensorBoard logs are written on this machine only",
            where="--tensorboard",
            expected="an --output on this machine",
            received=config.output,
        )


@contextmanager
def tracking(
    config: TrainConfig,
    hooks: Hooks,
    core: Any,
    optimizer: Any,
    *,
    problem: str,
    epochs: int,
    tell: Callable[[str], None],
) -> Iterator[Hooks]:
    """Adds the trackers to other hooks.

    Args:
        config: of the training; `options.tracking` requests TensorBoard logs.
        hooks: the other hooks.
        core: the model that trackers see.
        optimizer: the optimizer of the training.
        problem: the problem's name.
        epochs: maximum number of epochs, for `params`.
        tell: called once per tracker that fails or does not respond within SECONDS.
    """
    trackers: list[_Tracker] = []
    if config.options.tracking.tensorboard:
        trackers.append(_TensorBoard(tensorboard_folder(config)))
    if os.environ.get("MLFLOW_TRACKING_URI") and find_spec("mlflow") is not None:
        trackers.append(_MLflow(problem, config.identity))
    if not trackers:
        yield hooks
        return
    tracked = _Tracked(hooks, trackers, core, optimizer, epochs, tell, SECONDS)
    try:
        yield tracked
    except BaseException:
        tracked.close(succeeded=False)
        raise
    tracked.close(succeeded=True)


class _Tracker:
    """A Keras callback of another project, with its setup and its end. All calls are made in one thread."""

    name = ""
    callback: Any = None

    def load(self) -> None:
        """Imports its modules in the caller's thread: an import may take long, but does not hang."""

    def begin(self) -> None:
        """Creates the callback."""

    def end(self, succeeded: bool) -> None:
        """Training is over."""


class _TensorBoard(_Tracker):
    name = "TensorBoard"

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def begin(self) -> None:
        self.callback = keras.callbacks.TensorBoard(self._folder, write_graph=False, profile_batch=0)


class _MLflow(_Tracker):
    name = "MLflow"

    def __init__(self, problem: str, version: str) -> None:
        self._problem, self._version = problem, version
        self._mlflow: Any = None
        # A run that the caller started, for example in a notebook: the caller ends it.
        self._callers: str | None = None

    def load(self) -> None:
        for name, value in _MLFLOW_BOUNDS.items():
            os.environ.setdefault(name, value)
        self._mlflow = import_module("mlflow")
        import_module("mlflow.keras")
        active = self._mlflow.active_run()
        self._callers = active.info.run_id if active is not None else None

    def begin(self) -> None:
        tags = {"headrace.problem": self._problem, "headrace.model_version": self._version}
        # MLFLOW_RUN_ID and MLFLOW_EXPERIMENT_NAME are read here.
        self._mlflow.start_run(run_id=self._callers, run_name=f"{self._problem}-{self._version}", tags=tags)
        self.callback = self._mlflow.keras.MlflowCallback()

    def end(self, succeeded: bool) -> None:
        self._mlflow.flush_async_logging()
        if self._callers is None:
            self._mlflow.end_run("FINISHED" if succeeded else "FAILED")


class _Tracked(Wrapper):
    """Other hooks, and trackers. Single steps are not tracked."""

    def __init__(
        self,
        others: Hooks,
        trackers: Sequence[_Tracker],
        core: Any,
        optimizer: Any,
        epochs: int,
        tell: Callable[[str], None],
        seconds: float,
    ) -> None:
        super().__init__(others)
        self._core, self._epochs, self._tell, self._seconds = core, epochs, tell, seconds
        # Lent for the training only: an optimizer left in the model would be saved with it.
        self._lent = not core.compiled and getattr(core, "optimizer", None) is None
        if self._lent:
            core.optimizer = optimizer
        self._working = {tracker: _Worker(tracker.name) for tracker in trackers}
        for tracker in trackers:
            try:
                tracker.load()
            except Exception as error:
                self._drop(tracker, _first_line(error))
        self._each(lambda tracker: tracker.begin())

    def on_train_begin(self) -> None:
        self._others.on_train_begin()

        def begin(tracker: _Tracker) -> None:
            tracker.callback.set_params({"epochs": self._epochs, "steps": None, "verbose": 0})
            tracker.callback.set_model(self._core)
            tracker.callback.on_train_begin()

        self._each(begin)

    def on_epoch_begin(self, epoch: int) -> None:
        self._others.on_epoch_begin(epoch)
        self._each(lambda tracker: tracker.callback.on_epoch_begin(epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        # Before the other hooks, which may change the learning rate of the next epoch.
        self._each(lambda tracker: tracker.callback.on_epoch_end(epoch, dict(logs)))
        self._others.on_epoch_end(epoch, logs)

    def on_train_end(self) -> None:
        self._each(lambda tracker: tracker.callback.on_train_end())
        self._others.on_train_end()

    def close(self, *, succeeded: bool) -> None:
        """Ends the trackers and removes the optimizer from the model."""
        self._each(lambda tracker: tracker.end(succeeded))
        for worker in self._working.values():
            worker.stop()
        if self._lent:
            self._core.optimizer = None

    def _each(self, function: Callable[[_Tracker], None]) -> None:
        for tracker, worker in list(self._working.items()):
            try:
                worker.call(lambda tracker=tracker: function(tracker), self._seconds)  # type: ignore[misc]
            except TimeoutError:
                self._drop(tracker, f"no answer within {self._seconds:g} s")
            except Exception as error:
                self._drop(tracker, _first_line(error))

    def _drop(self, tracker: _Tracker, why: str) -> None:
        self._working.pop(tracker).stop()
        self._tell(f"{tracker.name} no longer tracks this training: {why[:300]}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


class _Worker:
    """A daemon thread for calls that may hang. MLflow's active run is per thread, so one thread makes all calls."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], queue.SimpleQueue[Exception | None]] | None]
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True).start()

    def call(self, function: Callable[[], None], seconds: float) -> None:
        """Calls a function and waits for its end.

        Raises:
            TimeoutError: the call takes longer than `seconds`.
            Exception: the function's exception.
        """
        done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._calls.put((function, done))
        try:
            error = done.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            raise error

    def stop(self) -> None:
        """Ends the thread after its current call."""
        self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            function, done = item
            try:
                function()
            except Exception as error:
                done.put(error)
            else:
                done.put(None)
