"""Claim of a run: who works for the ledger, until when, and the check that it still may, before every effect.

A change by compare-and-set that checks the claim between reading and writing is never made after a newer run's change
of the same file: the newer run was claimed after the check, and changed the file after it was read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import LedgerRun


@dataclass(frozen=True)
class Claim:
    """A run that an execution holds, or held.

    Attributes:
        ledger: URI of the ledger.
        run_id: of the run.
        holder: the execution.
        epoch: of the run's fence.
        until: deadline of the execution, in seconds since 1970; 0 for none.
    """

    ledger: str
    run_id: str
    holder: str
    epoch: int
    until: float = 0.0

    def check(self) -> LedgerRun:
        """The run, if the ledger still names it and this execution holds it.

        Raises:
            Overtaken: another run took its place, or it has ended.
            DataError: the ledger is damaged.
            PlatformError: the disk or the service failed.
        """
        return Ledger(self.ledger).check(self.run_id, self.holder)

    def to_json(self) -> dict[str, Any]:
        """The claim as JSON values, as pipelines pass it."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Claim | None:
        """The claim of `to_json`; None for {}, which is a run outside dynamic training.

        Raises:
            UsageError: it is not valid.
        """
        if not content:
            return None
        try:
            # Engines keep whole numbers of a JSON object as floats.
            return Claim(**{**content, "epoch": int(content["epoch"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                "the claim is not valid", expected="ledger, run_id, holder and epoch", received=repr(content)[:200]
            ) from error


def check(claim: Claim | None) -> None:
    """Checks a claim, where there is one; errors as of `Claim.check`."""
    if claim is not None:
        claim.check()


def may_begin(claim: Claim | None, task: str, needed_s: float = 0.0) -> float:
    """Checks that a task may begin what others see, or pay for: its run was not overtaken, and has time left.

    Args:
        claim: of the run; None for a run outside dynamic training, which has no deadline.
        task: its name.
        needed_s: seconds that it may use, with those that the tasks after it need.

    Returns:
        Seconds until the run's deadline; infinity without one.

    Raises:
        Overtaken, DataError: as of `Claim.check`.
        PlatformError: the task cannot end before the deadline. A later attempt has more time, as it does not repeat
            finished tasks. Or the disk or the service failed.
    """
    check(claim)
    left = claim.until - time.time() if claim is not None and claim.until else math.inf
    if left <= 0 or left < needed_s:
        raise PlatformError(
            "the run's deadline is over" if left <= 0 else "the run's deadline leaves too little time",
            where=task,
            expected=f"{needed_s:,.0f} s or more" if needed_s else "a task that begins before it",
            received=f"{left:,.0f} s",
            fix="The next attempt does not repeat finished tasks. If it has too little time as well, give a longer "
            "deadline: headrace dynamic init --replace --deadline",
        )
    return left
