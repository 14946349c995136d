"""Records that arrive while there is no model: what a scorer does with them."""

from __future__ import annotations

from typing import Literal

from headrace.core.checks import check_word

WithoutModel = Literal["skip", "hold"]
_WITHOUT_MODEL: tuple[WithoutModel, ...] = ("skip", "hold")


def check_without_model(value: str) -> None:
    """Checks what happens while there is no model.

    Raises:
        UsageError: it is neither skip nor hold.
    """
    check_word(value, "without_model", _WITHOUT_MODEL, where="--without-model")
