"""Pump: starts the run that is due, or checks the state of the run under way.

Every trigger, the last task of every run and every tick of a schedule calls it. Whatever the number of callers, and
wherever one is killed, each data version has one run at a time. The ledger names a run before it is started. A repeated
start starts nothing new. If a platform starts a copy nevertheless, the copy finds that the run is claimed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import LedgerRun, LedgerState, Outcome, Overtaken
from headrace.core.steps.step import identity
from headrace.core.text import counted

# Each turn ends with a change of the ledger by this caller or another. More than a few turns mean no progress.
_MOST_TURNS = 20
# Data versions in a message.
_SHOWN = 10

Status = Literal["absent", "alive", "ended"]


class PlatformRuns(Protocol):
    """The runs of a platform."""

    def status(self, run_id: str) -> Status:
        """Status of a run: "absent" if the platform does not know it.

        Raises:
            PlatformError: the platform does not respond, so the status is unknown.
        """

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """Starts a run. A run that is already started is left as it is, if the platform can detect that.

        Raises:
            UserError: the platform rejects the run permanently.
            PlatformError: the platform failed; whether the run was started is unknown.
        """


@dataclass(frozen=True)
class CanaryProgress:
    """A canary after one of its steps.

    Attributes:
        outcome: outcome of the run's data versions; None while the canary is under way.
        why: the reason, as text.
        bad: whether the version of the Model is bad, and must never be used again.
    """

    outcome: Outcome | None
    why: str
    bad: bool = False


@dataclass(frozen=True)
class PumpResult:
    """Result of a call of the pump.

    Attributes:
        did: "started" a run, found one "running", is "waiting" for the next attempt of a failed one, or is "idle".
        run: the run under way; None if there is none.
        why: the reason, as text, with the data versions that this call gave up. If idle, with all that were given up.
        given_up: data versions that this call gave up after their last attempt failed. No run is started for them.
    """

    did: Literal["started", "running", "waiting", "idle"]
    run: LedgerRun | None
    why: str
    given_up: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object, for the output of commands."""
        run = None if self.run is None else self.run.id
        return {"did": self.did, "run": run, "why": self.why, "given_up": list(self.given_up)}


def pump(
    ledger: Ledger,
    runs: PlatformRuns,
    now: datetime,
    *,
    name: str = "",
    retries: Retries | None = None,
    step: Callable[[LedgerRun], CanaryProgress] | None = None,
    why: Callable[[LedgerRun], str] | None = None,
) -> PumpResult:
    """Starts the run that is due.

    Args:
        ledger: ledger of the endpoint.
        runs: runs of the platform.
        now: current time, with a time zone.
        name: prefix of the ids of runs, such as the Problem's name; "" for no prefix.
        retries: retries of failed runs; None for the defaults of `Retries`.
        step: runs a step of the canary that a run left under way. A HeadraceError other than PlatformError and
            Overtaken counts as a failed attempt. None does not change the canary.
        why: returns the reason why a run ended without recording an outcome in the ledger; "" if it is unknown.

    Raises:
        UserError: the platform rejected the run, or a step of its canary failed. Both count as a failed attempt.
        PlatformError: the platform does not respond, or other callers changed the ledger during 20 attempts; calling
            again is safe.
        DataError: the ledger or an arrival is damaged.
    """
    begun = state = ledger.state()
    for _ in range(_MOST_TURNS):
        try:
            pumped = _turn(ledger, runs, state, now, name=name, retries=retries or Retries(), step=step, why=why)
            if pumped is not None:
                return _with_given_up(pumped, begun, state, ledger.uri)
        except Overtaken:
            # Somebody else changed the ledger since it was read.
            pass
        state = ledger.state()
    raise PlatformError("other processes changed the ledger during every attempt", where=ledger.uri, fix="Try again")


def _turn(
    ledger: Ledger,
    runs: PlatformRuns,
    state: LedgerState,
    now: datetime,
    *,
    name: str,
    retries: Retries,
    step: Callable[[LedgerRun], CanaryProgress] | None,
    why: Callable[[LedgerRun], str] | None,
) -> PumpResult | None:
    """Does what is due in a state; returns None if that changed the ledger and another turn must follow."""
    if state.run is not None and state.run.watch is not None:
        watched = (
            CanaryProgress(None, "its canary is under way")
            if step is None
            else _step(ledger, state.run, step, now, retries)
        )
        if watched.outcome is None:
            return PumpResult("running", state.run, f"run {state.run.id}: {watched.why}")
        return None
    if state.run is not None:
        status = runs.status(state.run.id)
        if status == "alive":
            return PumpResult("running", state.run, f"run {state.run.id} is under way")
        if status == "absent" and state.run.holder is None:
            # The process that wrote the intent was killed before it started the run, or is about to start it.
            return _start(ledger, runs, state.run, now, retries)
        reason = "" if why is None else why(state.run)
        _fail(ledger, state.run, reason or "the run ended without a result, or is gone", now, retries)
        return None
    arrived = ledger.inbox.versions()
    due = state.waiting(arrived, now)
    if not due:
        return _nothing(state, arrived, ledger.uri)
    return _start(ledger, runs, _intend(ledger, due, name, state.next_fence), now, retries)


def run_id_of(name: str, versions: Sequence[str], epoch: int, attempt: int) -> str:
    """The id of a run. Each attempt has its own id, because platforms do not accept the id of a failed run again."""
    digest = identity("dynamic-training", versions=list(versions), epoch=epoch, attempt=attempt)[:12]
    return f"{name}-{digest}" if name else digest


def _intend(ledger: Ledger, due: Sequence[str], name: str, fence: tuple[int, int]) -> LedgerRun:
    run_id = run_id_of(name, due, *fence)
    run = ledger.change(lambda found: found.started(due, run_id, fence)).run
    assert run is not None
    return run


def _step(
    ledger: Ledger, run: LedgerRun, step: Callable[[LedgerRun], CanaryProgress], now: datetime, retries: Retries
) -> CanaryProgress:
    """Runs a step of a canary, and ends its run if the canary ended."""
    assert run.watch is not None
    try:
        watched = step(run)
    except (PlatformError, Overtaken):
        # The next call repeats the step.
        raise
    except HeadraceError as error:
        _fail(ledger, run, error.what, now, retries)
        raise
    if watched.outcome is not None:
        model, others = run.watch.model, run.watch.others
        ledger.end(run.id, run.epoch, watched.outcome, model=model, why=watched.why, others=others, bad=watched.bad)
    return watched


def _start(ledger: Ledger, runs: PlatformRuns, run: LedgerRun, now: datetime, retries: Retries) -> PumpResult:
    try:
        runs.start(run, ledger.inbox.read(run.versions))
    except PlatformError:
        # The intent stays: the next call starts the same run.
        raise
    except HeadraceError as error:
        _fail(ledger, run, error.what, now, retries)
        raise
    return PumpResult("started", run, f"started run {run.id}, for {counted(len(run.versions), 'data version')}")


def _fail(ledger: Ledger, run: LedgerRun, reason: str, now: datetime, retries: Retries) -> None:
    ledger.change(lambda found: found.failed(run.id, reason, now, retries))


def _nothing(state: LedgerState, arrived: Sequence[str], uri: str) -> PumpResult:
    if state.failure is not None and any(version not in state.done for version in arrived):
        return PumpResult("waiting", None, f"the next attempt is at {state.failure.not_before}: {state.failure.reason}")
    lost = state.given_up
    return PumpResult("idle", None, _lost(state, lost, uri) if lost else "every data version that arrived is done")


def _with_given_up(pumped: PumpResult, begun: LedgerState, state: LedgerState, uri: str) -> PumpResult:
    """Adds the data versions that were given up between two states to a result."""
    lost = tuple(version for version in state.given_up if version not in begun.done)
    if not lost:
        return pumped
    why = pumped.why if pumped.did == "idle" else f"{pumped.why}. {_lost(state, lost, uri)}"
    return replace(pumped, why=why, given_up=lost)


def _lost(state: LedgerState, versions: Sequence[str], uri: str) -> str:
    """Message about data versions that were given up: the last reason, and the command that retries them."""
    why = next((ending.why for ending in reversed(state.history) if ending.outcome == "given up"), "")
    were = "was" if len(versions) == 1 else "were"
    folder = shlex.quote(uri)
    many = len(versions) > _SHOWN
    again = f"headrace dynamic {'status' if many else 'retry'} {' '.join((folder, *(() if many else versions)))}"
    shown = f"Their names: {again}" if many else f"Try again: {again}"
    return f"{counted(len(versions), 'data version')} {were} given up. Last reason: {why or 'not known'}. {shown}"
