"""Claim of a run: who works for the ledger, and the check that it still may, before every effect that others see.

A change by compare-and-set that checks the claim between reading and writing is never made after a newer run's change
of the same file: the newer run was claimed after the check, and changed the file after it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import Run


@dataclass(frozen=True)
class Claim:
    """A run that an execution holds, or held.

    Attributes:
        ledger: URI of the ledger.
        run_id: of the run.
        holder: the execution.
        epoch: of the run's fence.
    """

    ledger: str
    run_id: str
    holder: str
    epoch: int

    def check(self) -> Run:
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
