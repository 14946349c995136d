"""Ledger records: a run under way, the outcome of a data version, failures, and runs that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["promoted", "kept", "quarantined", "withdrawn", "given up"]
OUTCOMES: tuple[Outcome, ...] = ("promoted", "kept", "quarantined", "withdrawn", "given up")


@dataclass(frozen=True)
class Watch:
    """A canary that a run left under way. Ticks run its steps, and end the run when it ends.

    Attributes:
        model: version of the Model that the canary tests.
        others: outcomes by data version, of data versions whose outcome differs from that of the run.
    """

    model: str
    others: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerRun:
    """A run under way.

    Attributes:
        id: id of the run on its platform; each attempt has its own.
        epoch, attempt: its fence; both from 1.
        versions: the data versions that it trains on, sorted.
        holder: id of the execution that claimed it; None before it is claimed.
        watch: the canary that its tasks left under way; None while its tasks run.
    """

    id: str
    epoch: int
    attempt: int
    versions: tuple[str, ...]
    holder: str | None = None
    watch: Watch | None = None

    @property
    def fence(self) -> tuple[int, int]:
        """The pair (epoch, attempt). Fences are compared as pairs; the larger one is newer."""
        return self.epoch, self.attempt

    def to_json(self) -> dict[str, Any]:
        """The run as JSON values. `watch` is left out if it is None, because earlier releases do not know it."""
        return {name: value for name, value in asdict(self).items() if name != "watch" or value is not None}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> LedgerRun:
        """The run from the result of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the content is damaged.
        """
        watch = content.get("watch")
        watched = None if watch is None else Watch(watch["model"], dict(watch["others"]))
        return LedgerRun(**{**content, "versions": tuple(content["versions"]), "watch": watched})


@dataclass(frozen=True)
class VersionOutcome:
    """Outcome of a data version.

    Attributes:
        outcome: promoted, kept (the champion did not change), quarantined, withdrawn, or given up after too many
            failures.
        epoch: epoch of the run that decided it.
        model: version of the Model that the run trained; "" if there is none.
    """

    outcome: Outcome
    epoch: int
    model: str = ""


@dataclass(frozen=True)
class Failure:
    """Failed runs since the last run that ended.

    Attributes:
        attempts: number of failed runs, by data version.
        not_before: earliest time of the next attempt, ISO 8601 in UTC.
        reason: reason of the last failure.
    """

    attempts: Mapping[str, int]
    not_before: str
    reason: str


@dataclass(frozen=True)
class RunEnding:
    """A run that ended.

    Attributes:
        epoch: its number, from 1.
        versions: its data versions.
        outcome: outcome of its data versions, except those whose `VersionOutcome` differs.
        model: version of the Model that it trained; "" if there is none.
        why: the reason, as text.
    """

    epoch: int
    versions: tuple[str, ...]
    outcome: Outcome
    model: str
    why: str
