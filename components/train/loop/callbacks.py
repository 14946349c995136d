"""Keras callbacks of a Problem file, which the training loop calls as Keras' `fit` does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from headrace.components.train.loop.hooks import Hooks
from headrace.components.train.model.users.code import blaming
from headrace.core.errors import ProblemError
from headrace.core.problem.file import ProblemFile

_PER_STEP = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def hooks_of(problem_file: ProblemFile, core: Any, optimizer: Any, *, epochs: int) -> Hooks:
    """Hooks that call the callbacks of the Problem file's `callbacks(problem, hyperparameters)`.

    Args:
        problem_file: its `callbacks` function is called once, here.
        core: the model that callbacks see as `self.model`; its `optimizer` is `optimizer`.
        optimizer: the optimizer of the training; callbacks may assign its learning rate at any time.
        epochs: maximum number of epochs, for `params`.

    Raises:
        ProblemError: `callbacks` failed or did not return a list of callbacks.
    """
    if problem_file.callbacks is None:
        return Hooks()
    problem = problem_file.problem
    with blaming(problem_file, "callbacks failed", "callbacks"):
        callbacks = problem_file.callbacks(problem.trained, dict(problem.hyperparameters))
    if not isinstance(callbacks, list | tuple) or not all(isinstance(c, keras.callbacks.Callback) for c in callbacks):
        raise ProblemError(
            "callbacks did not return callbacks",
            where=f"{problem_file.path}, callbacks",
            expected="a list of keras.callbacks.Callback",
            received=repr(callbacks)[:100],
        )
    return KerasHooks(problem_file, list(callbacks), core, optimizer, epochs)


class KerasHooks(Hooks):
    """Hooks that forward each call to Keras callbacks.

    A callback that overrides a method per batch makes each step a separate call, which is slower.

    Args:
        problem_file: the file that defines the callbacks, for error messages.
        callbacks: called in this order.
        core: the model that callbacks see.
        optimizer: the optimizer of the training.
        epochs: maximum number of epochs, for `params`.
    """

    def __init__(self, problem_file: ProblemFile, callbacks: list[Any], core: Any, optimizer: Any, epochs: int) -> None:
        self._problem_file, self._callbacks, self._core = problem_file, callbacks, core
        self._stopped = ""
        self._first_step: int | None = None
        base = keras.callbacks.Callback
        self.each_step = any(getattr(type(one), n) is not getattr(base, n) for one in callbacks for n in _PER_STEP)
        if not core.compiled:
            core.optimizer = optimizer
        core.stop_training = False
        for callback in callbacks:
            callback.set_params({"epochs": epochs, "steps": None, "verbose": 0})
            callback.set_model(core)

    @property
    def stopped(self) -> str:
        return self._stopped

    def on_train_begin(self) -> None:
        self._call("on_train_begin")

    def on_epoch_begin(self, epoch: int) -> None:
        self._first_step = None
        self._call("on_epoch_begin", epoch)

    def on_train_batch_begin(self, step: int) -> None:
        self._first_step = step if self._first_step is None else self._first_step
        self._call("on_train_batch_begin", step - self._first_step)

    def on_train_batch_end(self, step: int, logs: dict[str, float]) -> None:
        self._call("on_train_batch_end", step - (self._first_step or 0), dict(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self._call("on_epoch_end", epoch, dict(logs))

    def on_train_end(self) -> None:
        self._call("on_train_end")
        if not self._core.compiled:
            # An optimizer left here would be saved with the model.
            self._core.optimizer = None

    def state(self) -> list[dict[str, Any]]:
        """The plain attributes of each callback, such as counters and best values; others are not restored."""
        return [{n: _plain(v) for n, v in vars(one).items() if _is_plain(n, v)} for one in self._callbacks]

    def restore(self, state: list[dict[str, Any]]) -> None:
        for callback, values in zip(self._callbacks, state, strict=False):
            vars(callback).update(values)

    def _call(self, name: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            with blaming(self._problem_file, f"the callback {type(callback).__name__} failed", "callbacks"):
                getattr(callback, name)(*arguments)
            if self._core.stop_training and not self._stopped:
                self._stopped = f"callback: {type(callback).__name__} stopped the training"


def _is_plain(name: str, value: Any) -> bool:
    return not name.startswith("_") and name != "params" and isinstance(value, bool | int | float | str | np.generic)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
