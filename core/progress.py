"""Progress reporting: one function that work calls, whoever listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback that work may call at any rate; listeners limit the rate themselves."""

    def __call__(
        self, message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False
    ) -> None:
        """Reports the current state of the work.

        Args:
            message: a few words, such as "epoch 3: loss 1.31, eval loss 1.29".
            done: number of finished units.
            total: number of all units.
            lasting: whether the message stays visible, such as a forecast or a warning.
        """


def silent(message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False) -> None:
    """A listener that ignores progress."""
