"""Handling of records that arrive while there is no model."""

from __future__ import annotations

from typing import Literal

from headrace.core.checks import check_word

WithoutModel = Literal["skip", "hold"]
_WITHOUT_MODEL: tuple[WithoutModel, ...] = ("skip", "hold")


def check_without_model(value: str) -> None:
    """Checks the handling of records without a model.

    Raises:
        UsageError: the value is neither skip nor hold.
    """
    check_word(value, "without_model", _WITHOUT_MODEL, where="--without-model")
