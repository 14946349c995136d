"""Claim of a run: the execution that holds it, its deadline, and the check before every effect that it still holds it.

A compare-and-set that checks the claim between its read and its write cannot overwrite a newer run's change of the
same file. The newer run is claimed after the check, so it changes the file after the read, and the write fails.
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
        run_id: id of the run.
        holder: id of the execution.
        epoch: epoch of the run's fence.
        until: deadline of the execution, in seconds since 1970; 0 if it has no deadline.
    """

    ledger: str
    run_id: str
    holder: str
    epoch: int
    until: float = 0.0

    def check(self) -> LedgerRun:
        """The run, if the ledger still names it and this execution holds it.

        Raises:
            Overtaken: another run superseded it, or it has ended.
            DataError: the ledger is damaged.
            PlatformError: the disk or the service failed.
        """
        return Ledger(self.ledger).check(self.run_id, self.holder)

    def to_json(self) -> dict[str, Any]:
        """The claim as JSON values, the form in which pipelines pass it."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Claim | None:
        """The claim from the result of `to_json`; None for {}, which is a run outside dynamic training.

        Raises:
            UsageError: the content is not a valid claim.
        """
        if not content:
            return None
        try:
            # Pipeline engines store the integers of a JSON object as floats.
            return Claim(**{**content, "epoch": int(content["epoch"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                "the claim is not valid", expected="ledger, run_id, holder and epoch", received=repr(content)[:200]
            ) from error


def check(claim: Claim | None) -> None:
    """Checks a claim; None passes. Raises the errors of `Claim.check`."""
    if claim is not None:
        claim.check()


def may_begin(claim: Claim | None, task: str, needed_s: float = 0.0) -> float:
    """Checks that a task may begin work with visible effects or costs: its run is not superseded, and has time left.

    Args:
        claim: claim of the run; None for a run outside dynamic training, which has no deadline.
        task: name of the task, for an error.
        needed_s: seconds that this task and the tasks after it need.

    Returns:
        Seconds until the run's deadline; infinity if it has no deadline.

    Raises:
        Overtaken, DataError: as of `Claim.check`.
        PlatformError: the task cannot end before the deadline, or the disk or the service failed. A later attempt has
            more time, because it does not repeat finished tasks.
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
