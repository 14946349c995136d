"""Rule mode: whether rows that break a rule are refused; without numpy, which some tasks lack."""

from __future__ import annotations

from typing import Literal, get_args

from headrace.core.errors import UsageError

# "enforce" refuses rows that break a rule; "warn" counts them, and predicts those that the model accepts.
Mode = Literal["enforce", "warn"]
MODES: tuple[Mode, ...] = get_args(Mode)


def check_mode(mode: str, *, where: str = "--rules") -> None:
    """Raises UsageError if `mode` is not one of MODES."""
    if mode not in MODES:
        raise UsageError("the mode of rules is not valid", where=where, expected=" or ".join(MODES), received=mode)
