"""Canary state: a version's way from staged over steps of traffic to promoted or rolled back, as one value.

Writers replace the value by compare-and-set: the intent is the new state, and traffic, processes and aliases follow it.
The functions are pure. A decision is for one epoch: applied again, or to a later epoch, it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.core.checks import check_count, check_word
from headrace.core.errors import DataError, UsageError, UserError

Stage = Literal["staged", "canary", "promoted", "rolled_back"]
Action = Literal["stay", "widen", "promote", "roll back"]

STAGES: tuple[Stage, ...] = ("staged", "canary", "promoted", "rolled_back")
ACTIONS: tuple[Action, ...] = ("stay", "widen", "promote", "roll back")
TERMINAL: tuple[Stage, ...] = ("promoted", "rolled_back")
_FORMAT = 1


@dataclass(frozen=True)
class CanaryDecision:
    """What to do with a canary, and why.

    Attributes:
        action: stay, widen, promote or roll back.
        epoch: of the state that it is for.
        percent: the canary's traffic after the action, 0 to 100.
        reasons: sentences, the deciding one first.
        worse: whether the evidence is against the canary; False for a rollback at the deadline, or by a person.
    """

    action: Action
    epoch: int
    percent: int
    reasons: tuple[str, ...]
    worse: bool = False

    def to_json(self) -> dict[str, Any]:
        """The decision by name of the attributes."""
        return {**vars(self), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class CanaryState:
    """State of a canary.

    Attributes:
        stage: staged, canary, promoted or rolled_back; the last two are terminal.
        stable: version that had all traffic before.
        canary: version that is tried.
        percent: the canary's traffic: 0 when staged or rolled back, 1 to 99 as a canary, 100 when promoted.
        epoch: number of the state, from 1, one more with each change.
        who: made the last change.
        why: of the last change, in words.
        at: time of the last change, with a time zone; a step begins with its change.
        deadline: time of the decision, with a time zone.
        settings: of the canary.

    Raises:
        UsageError: the attributes contradict each other.
    """

    stage: Stage
    stable: str
    canary: str
    percent: int
    epoch: int
    who: str
    why: str
    at: datetime
    deadline: datetime
    settings: CanarySettings

    def __post_init__(self) -> None:
        where = "CanaryState"
        check_word(self.stage, "stage", STAGES, where=where)
        bounds = {"staged": (0, 0), "canary": (1, 99), "promoted": (100, 100), "rolled_back": (0, 0)}[self.stage]
        check_count(self.percent, f"percent of a canary that is {self.stage}", minimum=bounds[0], maximum=bounds[1])
        check_count(self.epoch, "epoch", where=where)
        if not self.stable or not self.canary or self.stable == self.canary:
            raise UsageError(
                "the versions of a canary are wrong",
                where=where,
                expected="two different versions",
                received=f"stable {self.stable!r}, canary {self.canary!r}",
            )
        if self.at.tzinfo is None or self.deadline.tzinfo is None:
            raise UsageError("a time of the canary has no time zone", where=where, expected="a time in UTC")

    @property
    def begun(self) -> datetime:
        """The time at which it was staged."""
        return self.deadline - timedelta(seconds=self.settings.deadline_s)

    @property
    def traffic(self) -> Mapping[str, int]:
        """Percent of the traffic by version, of both; it sums to 100."""
        return {self.stable: 100 - self.percent, self.canary: self.percent}

    @property
    def terminal(self) -> bool:
        """Whether the canary is promoted or rolled back, which no decision changes."""
        return self.stage in TERMINAL

    @property
    def live(self) -> str:
        """The version that other versions are compared with: the canary once it is promoted."""
        return self.canary if self.stage == "promoted" else self.stable

    def after(self, decision: CanaryDecision, who: str, now: datetime) -> CanaryState:
        """The state after a decision; this one if the decision is to stay, or for another epoch, or this is terminal.

        Args:
            decision: from `decide`, or from `promotion` or `rollback`.
            who: makes the change.
            now: with a time zone.

        Raises:
            UsageError: the decision's traffic is not one that its action leads to.
        """
        if self.terminal or decision.epoch != self.epoch or decision.action == "stay":
            return self
        stages: Mapping[str, Stage] = {"widen": "canary", "promote": "promoted", "roll back": "rolled_back"}
        check_word(decision.action, "action", ACTIONS, where="CanaryDecision")
        if decision.action == "widen" and decision.percent <= self.percent:
            raise UsageError(
                "the canary's traffic is wrong",
                where="CanaryDecision",
                expected=f"more than {self.percent} %",
                received=f"{decision.percent} %",
            )
        return replace(
            self,
            stage=stages[decision.action],
            percent=decision.percent,
            epoch=self.epoch + 1,
            who=who,
            why=" ".join(decision.reasons),
            at=now,
        )

    def promotion(self, why: str) -> CanaryDecision:
        """The decision of a person to promote the canary."""
        return CanaryDecision("promote", self.epoch, 100, (why,))

    def rollback(self, why: str) -> CanaryDecision:
        """The decision of a person to roll the canary back."""
        return CanaryDecision("roll back", self.epoch, 0, (why,))

    def to_json(self) -> dict[str, Any]:
        """The state as a JSON object."""
        return {
            "format": _FORMAT,
            "stage": self.stage,
            "stable": self.stable,
            "canary": self.canary,
            "percent": self.percent,
            "epoch": self.epoch,
            "who": self.who,
            "why": self.why,
            "at": self.at.isoformat(),
            "deadline": self.deadline.isoformat(),
            "settings": self.settings.to_json(),
        }

    @staticmethod
    def from_json(content: Any, where: str) -> CanaryState:
        """The state of `to_json`.

        Args:
            content: the JSON object.
            where: its file, for messages.

        Raises:
            DataError: it is damaged.
        """
        try:
            if not isinstance(content, Mapping) or content["format"] != _FORMAT:
                raise ValueError("not an object of this format")
            given = {name: value for name, value in content.items() if name != "format"}
            for name in ("at", "deadline"):
                given[name] = datetime.fromisoformat(given[name])
            return CanaryState(**{**given, "settings": CanarySettings.from_json(given["settings"])})
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            received = error.paragraph if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            raise DataError(
                "the state of the canary is damaged",
                where=where,
                expected=f"a canary of format {_FORMAT}",
                received=received,
            ) from error


def stage(
    stable: str, canary: str, settings: CanarySettings, who: str, why: str, now: datetime, *, epoch: int = 1
) -> CanaryState:
    """A staged canary: its version is prepared, and has no traffic yet.

    Args:
        stable: version that has all traffic.
        canary: version to try.
        settings: of the canary.
        who: stages it.
        why: in words.
        now: with a time zone; the deadline follows from it.
        epoch: of the state, greater than those of earlier canaries of the endpoint.

    Raises:
        UsageError: the versions are the same, or the time has no time zone.
    """
    deadline = now + timedelta(seconds=settings.deadline_s)
    return CanaryState("staged", stable, canary, 0, epoch, who, why, now, deadline, settings)
