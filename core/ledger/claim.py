"""Claim of a run: the execution that holds it, its deadline, and the check before every effect that it still holds it.

A compare-and-set that checks the claim between its read and its write cannot overwrite a newer run's change of the
same file. The newer run is claimed after the check, so it changes the file after the read, and the write fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import LedgerRun
from headrace.core.storage.clocks import Moment, store_clock


@dataclass(frozen=True)
class Claim:
    """A run that an execution holds, or held.

    Attributes:
        ledger: URI of the ledger.
        run_id: id of the run.
        holder: id of the execution.
        epoch: epoch of the run's fence.
        until: deadline of the execution, in seconds since 1970 by the clock of the ledger's store; 0 if it has none.
        machine, ends: the deadline as a `Moment`, for tasks on the machine that set it.
    """

    ledger: str
    run_id: str
    holder: str
    epoch: int
    until: float = 0.0
    machine: str = ""
    ends: float = 0.0

    def bounded(self, seconds: float) -> Claim:
        """The claim with a deadline that is `seconds` from now. Raises the errors of `store_clock`."""
        end = Moment.now(seconds)
        return replace(self, until=store_clock(self.ledger) + seconds, machine=end.machine, ends=end.at)

    def left_s(self) -> float:
        """Seconds until the deadline; infinity if there is none. Raises the errors of `store_clock`.

        The clocks of two machines are never compared: on the machine that set the deadline the monotonic clock counts,
        on any other one that of the ledger's store.
        """
        if not self.until:
            return math.inf
        passed = Moment(self.machine, self.ends).passed_s()
        return self.until - store_clock(self.ledger) if passed is None else -passed

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
    left = math.inf if claim is None else claim.left_s()
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
