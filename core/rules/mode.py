"""Mode of rules: whether rows that break one are refused; free of numpy, which not every task has."""

from __future__ import annotations

from typing import Literal, get_args

from headrace.core.errors import UsageError

# "enforce" refuses rows that break a rule; "warn" predicts those that the model can take, and counts them.
Mode = Literal["enforce", "warn"]
MODES: tuple[Mode, ...] = get_args(Mode)


def check_mode(mode: str, *, where: str = "--rules") -> None:
    """Raises UsageError if `mode` is not one of MODES."""
    if mode not in MODES:
        raise UsageError("the mode of rules is not valid", where=where, expected=" or ".join(MODES), received=mode)
