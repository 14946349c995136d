"""Ledger records: a run under way, what became of a data version, failures, and runs that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["promoted", "kept", "quarantined", "withdrawn", "given up"]
OUTCOMES: tuple[Outcome, ...] = ("promoted", "kept", "quarantined", "withdrawn", "given up")


@dataclass(frozen=True)
class Watch:
    """A canary that a run left under way: ticks take its steps, and end the run with it.

    Attributes:
        model: the version of the Model that is tried.
        others: data versions with another outcome than the run.
    """

    model: str
    others: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerRun:
    """A run under way.

    Attributes:
        id: of the run on its platform; another one for each attempt.
        epoch, attempt: its fence.
        versions: the data versions that it trains with, sorted.
        holder: the execution that claimed it; None before.
        watch: the canary that its tasks left under way; None as long as tasks do the work.
    """

    id: str
    epoch: int
    attempt: int
    versions: tuple[str, ...]
    holder: str | None = None
    watch: Watch | None = None

    @property
    def fence(self) -> tuple[int, int]:
        """Compared as a pair; a larger one is newer."""
        return self.epoch, self.attempt

    def to_json(self) -> dict[str, Any]:
        """The run as JSON values; without a watch, as earlier releases read it."""
        return {name: value for name, value in asdict(self).items() if name != "watch" or value is not None}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> LedgerRun:
        """The run of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        watch = content.get("watch")
        watched = None if watch is None else Watch(watch["model"], dict(watch["others"]))
        return LedgerRun(**{**content, "versions": tuple(content["versions"]), "watch": watched})


@dataclass(frozen=True)
class VersionOutcome:
    """What became of a data version.

    Attributes:
        outcome: promoted, kept (the champion stayed), quarantined, withdrawn, or given up after too many failures.
        epoch: of the run that ended it.
        model: the version of the Model that the run made; "" if none.
    """

    outcome: Outcome
    epoch: int
    model: str = ""


@dataclass(frozen=True)
class Failure:
    """Runs that failed since the last one that ended.

    Attributes:
        attempts: failed runs of each data version.
        not_before: time of the next attempt, ISO 8601 in UTC.
        reason: of the last failure.
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
        outcome: of all of them, but for those in `VersionOutcome` with another one.
        model: the version of the Model that it made; "" if none.
        why: in words.
    """

    epoch: int
    versions: tuple[str, ...]
    outcome: Outcome
    model: str
    why: str
