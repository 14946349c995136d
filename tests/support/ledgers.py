"""A ledger with a run under way, as a trigger and the first task of a run leave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace.core.ledger.claim import Claim
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import LedgerRun

AT = "2026-02-01T00:00:00+00:00"


def arrival(number: int, *, span: str | None = None, reason: str = "file") -> Arrival:
    """An arrival of a span, or with span "" a request."""
    name = f"2026-01-{number + 1:02d}" if span is None else span
    data = f"{name}.csv" if name else ""
    return Arrival(f"{number:016x}", name, data, f"rows {number}", reason, "", AT)


def started(uri: str, arrivals: Sequence[Arrival], run_id: str = "") -> LedgerRun:
    """Adds arrivals, and writes the intent of a run for them."""
    ledger = Ledger(uri)
    for one in arrivals:
        ledger.arrive(one)
    versions = [one.version for one in arrivals]
    fence = ledger.state().next_fence
    name = run_id or f"run-{fence[0]}-{fence[1]}"
    run = ledger.change(lambda state: state.started(versions, name, fence)).run
    assert run is not None
    return run


def claimed(uri: str, arrivals: Sequence[Arrival], holder: str = "holder") -> Claim:
    """As `started`, and claimed by a holder."""
    run = started(uri, arrivals)
    Ledger(uri).claim(run.id, holder)
    return Claim(uri, run.id, holder, run.epoch)


def ended(uri: str) -> Claim:
    """A claim of a run that was overtaken: it has ended."""
    claim = claimed(uri, [arrival(0)])
    Ledger(uri).end(claim.run_id, claim.epoch, "kept")
    return claim


def late(uri: str) -> Claim:
    """A claim that holds, of a run whose deadline is over."""
    return replace(claimed(uri, [arrival(0)]), until=1.0)


# Claims under which no task begins, and the error that it ends with.
REFUSED = ((ended, "this run was overtaken"), (late, "the run's deadline is over"))
