"""Ledger state: the run under way, the data versions that are done, and failures, as one immutable value.

The functions are pure and accept the time as an argument. A repeated change returns the same state or raises, so a
caller may repeat it after a lost response.

A run's fence is (epoch, attempt): the epoch counts the runs that ended, from 1, and the attempt counts the runs started
within an epoch. Fences only grow. A run with an older fence was superseded, and must not change anything. Once all runs
ended, the ledger is the same however many attempts and failures there were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from headrace.core.errors import DataError, UsageError, UserError
from headrace.core.ledger.records import OUTCOMES, Failure, LedgerRun, Outcome, RunEnding, VersionOutcome, Watch
from headrace.core.ledger.retries import Retries

__all__ = [
    "MOST_VERSIONS",
    "OUTCOMES",
    "Failure",
    "LedgerRun",
    "LedgerState",
    "Outcome",
    "Overtaken",
    "RunEnding",
    "VersionOutcome",
    "Watch",
    "damaged",
]

# Each change writes the whole ledger, some 100 bytes per data version.
MOST_VERSIONS = 20_000
_HISTORY = 1000
_FORMAT = 1


class Overtaken(UserError):
    """The ledger does not name this run: another run superseded it, or it has ended."""


@dataclass(frozen=True)
class LedgerState:
    """Content of ledger.json.

    Attributes:
        epoch: number of runs that ended.
        attempt: number of runs started since the last one ended.
        run: the run under way; None if there is none.
        failure: failed runs since the last run that ended; None if none failed.
        done: outcome by data version.
        bad: versions of Models that were rolled back. They are never promoted or used for a warm start again.
        history: the last 1,000 runs that ended, latest last.
    """

    epoch: int = 0
    attempt: int = 0
    run: LedgerRun | None = None
    failure: Failure | None = None
    done: Mapping[str, VersionOutcome] = field(default_factory=dict)
    bad: tuple[str, ...] = ()
    history: tuple[RunEnding, ...] = ()

    @property
    def given_up(self) -> tuple[str, ...]:
        """The data versions whose runs failed too often, sorted. No run is started for them."""
        return tuple(version for version, done in self.done.items() if done.outcome == "given up")

    def waiting(self, arrived: Iterable[str], now: datetime) -> tuple[str, ...]:
        """The arrived data versions that a run may be started for now, sorted; empty while a run is under way.

        A retried run has the same data versions as before; later arrivals wait for the next run. This way, the result
        of an epoch does not depend on the number of attempts.
        """
        if self.run is not None or (self.failure is not None and now < datetime.fromisoformat(self.failure.not_before)):
            return ()
        due = {version for version in arrived if version not in self.done}
        again = due if self.failure is None else due.intersection(self.failure.attempts)
        return tuple(sorted(again or due))

    def started(self, versions: Iterable[str], run_id: str, fence: tuple[int, int]) -> LedgerState:
        """The state that names a run. It is written before the run is started.

        Args:
            versions: data versions of the run.
            run_id: id derived from the fence, so that each attempt has its own.
            fence: `next_fence` of the state in which the versions were found waiting.

        Raises:
            UsageError: there are no versions, one is done, or the ledger is full.
            Overtaken: a run is under way, or was started since.
        """
        chosen = tuple(sorted(set(versions)))
        if self.run is not None or self.next_fence != fence:
            raise Overtaken("another run was started", received="ended" if self.run is None else self.run.id)
        if not chosen or any(version in self.done for version in chosen):
            raise UsageError("a run needs data versions that are not done", received=", ".join(chosen) or "none")
        if len(self.done) + len(chosen) > MOST_VERSIONS:
            raise UsageError(
                "the ledger is full",
                expected=f"at most {MOST_VERSIONS:,} data versions",
                fix="Start another ledger: move this one's folder away; the registry still has the champion",
            )
        epoch, attempt = self.next_fence
        return replace(self, attempt=attempt, run=LedgerRun(run_id, epoch, attempt, chosen))

    @property
    def next_fence(self) -> tuple[int, int]:
        """The fence of the next run."""
        return self.epoch + 1, self.attempt + 1

    def claimed(self, run_id: str, holder: str) -> LedgerState:
        """The state after an execution claimed the run under way. The same execution may claim it again.

        Args:
            run_id: id of the run.
            holder: id of the platform's execution, such as that of the workflow. A copy of the run has a different one.

        Raises:
            Overtaken: the ledger names another run, or another execution holds it.
        """
        run = self._current(run_id)
        if run.holder not in (None, holder):
            raise Overtaken(
                "another execution of this run was first",
                where=run_id,
                expected=f"{run.holder}, which holds it",
                received=holder,
            )
        return replace(self, run=replace(run, holder=holder))

    def check(self, run_id: str, holder: str) -> LedgerRun:
        """The run under way, if this execution holds it. It is called before every visible effect.

        Raises:
            Overtaken: this execution does not hold the run, or the ledger names another run.
        """
        run = self._current(run_id)
        if run.holder != holder:
            raise Overtaken("this execution does not hold the run", where=run_id, received=holder)
        return run

    def watched(self, run_id: str, holder: str, watch: Watch) -> LedgerState:
        """The state after the tasks of the run left a canary under way; ticks run its steps, and the run continues.

        Raises:
            Overtaken: this execution does not hold the run.
        """
        return replace(self, run=replace(self.check(run_id, holder), watch=watch))

    def ended(
        self,
        run_id: str,
        epoch: int,
        outcome: Outcome,
        *,
        model: str = "",
        why: str = "",
        others: Mapping[str, Outcome] | None = None,
    ) -> LedgerState:
        """The state after the run under way ended without failure: all its data versions are done.

        Args:
            run_id: id of the run.
            epoch: epoch of its fence, which identifies an ending that is already written.
            outcome: outcome of its data versions.
            model: version of the Model that it trained; "" if there is none.
            why: the reason, as text.
            others: outcomes of data versions that differ from `outcome`, such as that of a quarantined span.

        Raises:
            UsageError: a data version of `others` is not one of the run.
            Overtaken: the ledger names another run, and this ending is not in its history.
        """
        if any((e.epoch, e.outcome, e.model) == (epoch, outcome, model) for e in reversed(self.history)):
            return self
        run = self._current(run_id)
        own = dict(others or {})
        if not own.keys() <= set(run.versions):
            raise UsageError("a data version is not of this run", where=run_id, received=", ".join(sorted(own)))
        now_done = {version: VersionOutcome(own.get(version, outcome), run.epoch, model) for version in run.versions}
        return self._after(run.versions, now_done, RunEnding(run.epoch, run.versions, outcome, model, why))

    def failed(self, run_id: str, reason: str, now: datetime, retries: Retries) -> LedgerState:
        """The state after the run under way failed or disappeared.

        Its data versions wait for the next attempt. Those that failed too often are given up and added to the history.

        Raises:
            Overtaken: the ledger names another run.
        """
        run = self._current(run_id)
        before = self.failure.attempts if self.failure is not None else {}
        attempts = dict(sorted({**before, **{version: before.get(version, 0) + 1 for version in run.versions}}.items()))
        given_up = tuple(version for version, count in attempts.items() if count >= retries.attempts)
        left = {version: count for version, count in attempts.items() if version not in given_up}
        wait = retries.wait(max(attempts.values()))
        failure = Failure(left, (now + wait).isoformat(timespec="seconds"), reason) if left else None
        if not given_up:
            return replace(self, run=None, failure=failure)
        now_done = {version: VersionOutcome("given up", run.epoch) for version in given_up}
        ending = RunEnding(run.epoch, given_up, "given up", "", reason)
        return replace(self._after(given_up, now_done, ending), failure=failure)

    def restored(self, versions: Iterable[str]) -> LedgerState:
        """The state in which data versions that were given up or quarantined wait for a run again.

        Raises:
            UsageError: a version was not given up or quarantined.
        """
        chosen = set(versions)
        for version in sorted(chosen):
            found = self.done.get(version)
            if found is None or found.outcome not in ("given up", "quarantined"):
                raise UsageError(
                    "the data version cannot be tried again",
                    expected="a version that was given up or quarantined",
                    received=f"{version}, {'unknown' if found is None else found.outcome}",
                )
        return replace(self, done={version: kept for version, kept in self.done.items() if version not in chosen})

    def marked_bad(self, model: str) -> LedgerState:
        """The state in which a version of a Model is marked as bad, and never used again."""
        return self if model in self.bad else replace(self, bad=tuple(sorted((*self.bad, model))))

    def _current(self, run_id: str) -> LedgerRun:
        if self.run is None or self.run.id != run_id:
            raise Overtaken(
                "this run was overtaken",
                where=run_id,
                expected="the run that the ledger names",
                received="none is under way" if self.run is None else self.run.id,
                fix="Nothing is to be done: what this run would have trained with is in another run, or done",
            )
        return self.run

    def _after(
        self, versions: tuple[str, ...], now_done: Mapping[str, VersionOutcome], ending: RunEnding
    ) -> LedgerState:
        done = dict(sorted({**self.done, **now_done}.items()))
        history = (*self.history, ending)[-_HISTORY:]
        failure = self.failure
        if failure is not None:
            left = {version: count for version, count in failure.attempts.items() if version not in versions}
            failure = replace(failure, attempts=left) if left else None
        return replace(self, epoch=ending.epoch, attempt=0, run=None, failure=failure, done=done, history=history)

    def to_json(self) -> dict[str, Any]:
        """The content of ledger.json."""
        return {
            "kind": "Ledger",
            "format": _FORMAT,
            "epoch": self.epoch,
            "attempt": self.attempt,
            "run": None if self.run is None else self.run.to_json(),
            "failure": None if self.failure is None else asdict(self.failure),
            "done": {version: asdict(done) for version, done in self.done.items()},
            "bad": list(self.bad),
            "history": [asdict(ending) for ending in self.history],
        }

    @staticmethod
    def from_json(content: Any, uri: str) -> LedgerState:
        """The state in ledger.json; None is a new ledger.

        Args:
            content: JSON value of the file.
            uri: URI of the file, for an error.

        Raises:
            DataError: the file is damaged.
        """
        if content is None:
            return LedgerState()
        try:
            if not isinstance(content, Mapping) or content["format"] != _FORMAT:
                raise ValueError(f"{type(content).__name__} of another format")
            run, failure = content["run"], content["failure"]
            return LedgerState(
                epoch=int(content["epoch"]),
                attempt=int(content["attempt"]),
                run=None if run is None else LedgerRun.from_json(run),
                failure=None if failure is None else Failure(**failure),
                done={version: VersionOutcome(**done) for version, done in content["done"].items()},
                bad=tuple(content["bad"]),
                history=tuple(RunEnding(**{**e, "versions": tuple(e["versions"])}) for e in content["history"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(uri, f"{type(error).__name__}: {error}") from error


def damaged(uri: str, received: str) -> DataError:
    """The error of a ledger that cannot be read."""
    return DataError(
        "the ledger is damaged",
        where=uri,
        expected=f"a ledger of format {_FORMAT}",
        received=received,
        fix="Restore the file from a backup. Without one, move it and the folder epochs next to it away: the next run "
        "then trains on all data that ever arrived, and is compared with the champion",
    )
