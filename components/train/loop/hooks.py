"""Training hooks: the calls that the training loop makes, at the same moments as Keras' callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Hooks:
    """Hooks that do nothing. Epochs and steps count from 0, as in Keras.

    Attributes:
        each_step: whether the hooks for single steps are called, which makes each step a separate call.
    """

    each_step = False

    @property
    def stopped(self) -> str:
        """Why a hook ended the training; "" if no hook did."""
        return ""

    def on_train_begin(self) -> None:
        """Training starts or resumes."""

    def on_epoch_begin(self, epoch: int) -> None:
        """An epoch starts or resumes."""

    def on_train_batch_begin(self, step: int) -> None:
        """Before a step, with `each_step`."""

    def on_train_batch_end(self, step: int, logs: dict[str, float]) -> None:
        """After a step, with `each_step`."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """After an epoch and its evaluation; names of metrics on the eval split begin with "val_"."""

    def on_train_end(self) -> None:
        """Training is over; the model still has its last weights."""

    def state(self) -> list[dict[str, Any]]:
        """The state that lasts from epoch to epoch, as JSON values, for a checkpoint."""
        return []

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Restores the result of `state`; called after `on_train_begin`."""


class Wrapper(Hooks):
    """Hooks that forward each call to other hooks; a base class.

    Args:
        others: the hooks to call.
    """

    def __init__(self, others: Hooks) -> None:
        self._others = others
        self.each_step = others.each_step

    @property
    def stopped(self) -> str:
        return self._others.stopped

    def on_train_begin(self) -> None:
        self._others.on_train_begin()

    def on_epoch_begin(self, epoch: int) -> None:
        self._others.on_epoch_begin(epoch)

    def on_train_batch_begin(self, step: int) -> None:
        self._others.on_train_batch_begin(step)

    def on_train_batch_end(self, step: int, logs: dict[str, float]) -> None:
        self._others.on_train_batch_end(step, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self._others.on_epoch_end(epoch, logs)

    def on_train_end(self) -> None:
        self._others.on_train_end()

    def state(self) -> list[dict[str, Any]]:
        return self._others.state()

    def restore(self, state: list[dict[str, Any]]) -> None:
        self._others.restore(state)


class AfterEpoch(Wrapper):
    """Other hooks, and a function that is called after each epoch.

    Args:
        others: the hooks to call.
        function: called with the epoch (from 1) and the metrics; an exception from it ends the training.
    """

    def __init__(self, others: Hooks, function: Callable[[int, Mapping[str, float]], None]) -> None:
        super().__init__(others)
        self._function = function

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        super().on_epoch_end(epoch, logs)
        self._function(epoch + 1, logs)
