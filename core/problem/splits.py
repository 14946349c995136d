"""Splits: which fraction of the rows trains, tunes and tests."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from headrace.core.checks import is_finite
from headrace.core.errors import ProblemError


@dataclass(frozen=True)
class Splits:
    """Which share of the rows trains, tunes and tests, chosen by a fingerprint of the key.

    Raises:
        ProblemError: a share outside (0, 1), or shares that do not sum to 1.
    """

    train: float = 0.8
    eval: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        shares = dataclasses.asdict(self)
        for name, share in shares.items():
            if not is_finite(share) or not 0 < share < 1:
                raise ProblemError(
                    f"{name} is wrong", where="Splits", expected="a share between 0 and 1", received=repr(share)
                )
        total = math.fsum(shares.values())
        if abs(total - 1) > 1e-9:
            raise ProblemError(
                "the fractions do not sum to 1",
                where="Splits",
                expected="train + eval + test = 1",
                received=f"{' + '.join(str(s) for s in shares.values())} = {total:g}",
            )
