"""Canary watch: looks at a canary again and again, decides, and makes the traffic follow, until it is terminal.

The record of a canary is one value, replaced by compare-and-set before the traffic follows it. A process that is killed
anywhere, or two that watch at once, lose nothing: the next look reads the record, and makes the traffic follow again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from headrace.components.deploy.canary.decide import decide
from headrace.components.deploy.canary.evidence import Evidence, Step, VersionTraffic
from headrace.components.deploy.canary.replay import Replayed
from headrace.components.deploy.canary.state import CanaryState, Decision
from headrace.core.errors import DataError, UserError

_FORMAT = 1
_NONE = VersionTraffic()


@dataclass(frozen=True)
class CanaryRecord:
    """A canary with its evidence.

    Attributes:
        state: of the canary.
        evidence: since its beginning.
        seen: the endpoint's counters by version at the last look.
        decision: of the last look; None before the first.
    """

    state: CanaryState
    evidence: Evidence = field(default_factory=Evidence)
    seen: Mapping[str, VersionTraffic] = field(default_factory=dict)
    decision: Decision | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return {
            "format": _FORMAT,
            "state": self.state.to_json(),
            "evidence": self.evidence.to_json(),
            "seen": {version: counts.to_json() for version, counts in sorted(self.seen.items())},
            "decision": None if self.decision is None else self.decision.to_json(),
        }

    @staticmethod
    def from_json(content: Any, where: str) -> CanaryRecord:
        """The record of `to_json`.

        Args:
            content: the JSON object.
            where: its file, for messages.

        Raises:
            DataError: it is damaged.
        """
        try:
            if content["format"] != _FORMAT:
                raise ValueError("another format")
            decision = content["decision"]
            return CanaryRecord(
                CanaryState.from_json(content["state"], where),
                Evidence.from_json(content["evidence"], where),
                {version: VersionTraffic.from_json(counts) for version, counts in content["seen"].items()},
                None if decision is None else Decision(**{**decision, "reasons": tuple(decision["reasons"])}),
            )
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise DataError(
                "the record of the canary is damaged",
                where=where,
                expected=f"a record of format {_FORMAT}",
                received=f"{type(error).__name__}: {error}",
            ) from error


class CanaryEndpoint(Protocol):
    """What a watch needs of an endpoint."""

    def read(self) -> CanaryRecord:
        """The record of its canary."""

    def replace(self, before: CanaryRecord, after: CanaryRecord) -> bool:
        """Replaces the record, if it is still `before`; returns whether it was."""

    def counters(self) -> Mapping[str, VersionTraffic]:
        """Requests, errors and latencies by version since any time: counters that only grow, or begin anew."""

    def follow(self, state: CanaryState) -> None:
        """Makes traffic, and what a promotion or a rollback reaches, follow a state; may be called again and again."""


def look(
    record: CanaryRecord, counters: Mapping[str, VersionTraffic], replayed: Replayed | None, now: datetime, who: str
) -> CanaryRecord:
    """The record after one look at the counters; pure. The same counters again add nothing.

    Args:
        record: of the canary.
        counters: by version, of `CanaryEndpoint.counters`.
        replayed: all rows that were replayed since the canary's beginning; None to leave that evidence as it is.
        now: with a time zone.
        who: makes the change of state that follows, if one does.
    """
    state, evidence = record.state, record.evidence
    if state.stage == "canary":
        step = evidence.step(state.epoch) or Step(state.epoch, state.percent)
        more = {v: counters.get(v, _NONE).since(record.seen.get(v, _NONE)) for v in (state.stable, state.canary)}
        evidence = evidence.with_step(
            replace(step, stable=step.stable + more[state.stable], canary=step.canary + more[state.canary])
        )
    if replayed is not None:
        evidence = replace(evidence, replay=replayed.replay, losses=replayed.losses)
    decision = decide(state, evidence, now)
    # A version that is not counted now, as while its process starts, may be counted on later.
    seen = {**record.seen, **counters}
    return CanaryRecord(state.after(decision, who, now), evidence, seen, decision)


def watch(
    endpoint: CanaryEndpoint,
    who: str,
    *,
    interval_s: float = 1.0,
    replay: Callable[[], Replayed] | None = None,
    report: Callable[[CanaryRecord], None] = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> CanaryRecord:
    """Watches a canary until it is promoted or rolled back.

    Args:
        endpoint: with a canary.
        who: watches.
        interval_s: between two looks, in seconds.
        replay: replays new logged requests and returns the evidence of all; None without a request log.
        report: receives the record after each look that replaced it.
        clock: returns the time, with a time zone.
        sleep: waits a number of seconds.

    Returns:
        The last record, whose state the endpoint follows.
    """
    while True:
        before = endpoint.read()
        # Also where the process that wrote this state was killed before the traffic followed it.
        endpoint.follow(before.state)
        if before.state.terminal:
            return before
        after = look(before, endpoint.counters(), None if replay is None else replay(), clock(), who)
        # Another process may have changed the record meanwhile, a person by promoting the canary, say: look again.
        if endpoint.replace(before, after):
            report(after)
        if after.state.epoch == before.state.epoch:
            sleep(interval_s)
