"""How work says how far it is: one function that work calls, whoever listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by work, as often as it likes; listeners keep the pace that suits them."""

    def __call__(
        self, message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False
    ) -> None:
        """Says what is being done.

        Args:
            message: a few words, such as "epoch 3: loss 1.31, eval loss 1.29".
            done: how many units are finished.
            total: of how many.
            lasting: whether it is worth reading later too, such as a forecast or a warning.
        """


def silent(message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False) -> None:
    """Nobody listens."""
