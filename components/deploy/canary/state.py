"""Canary state: a state machine from staged, through steps of traffic, to promoted or rolled back.

Writers replace the state by compare-and-set. The new state is the intent, and traffic, processes and aliases follow it.
The functions are pure. A decision is for one epoch: applied to a later epoch, it has no effect.
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
    """A decision about a canary, with its reasons.

    Attributes:
        action: stay, widen, promote or roll back.
        epoch: epoch of the state to which it applies.
        percent: traffic of the canary after the action in percent, 0 to 100.
        reasons: sentences, the deciding one first.
        worse: whether the evidence is against the canary; False for a rollback at the deadline or by a person.
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
        canary: version that the canary tests.
        percent: traffic of the canary in percent: 0 if staged or rolled back, 1 to 99 as a canary, 100 if promoted.
        epoch: number of the state, 1 or more; each change increases it by one.
        who: author of the last change.
        why: reason of the last change, as text.
        at: time of the last change, with a time zone; a step begins with its change.
        deadline: latest time of the decision, with a time zone.
        settings: settings of the canary.

    Raises:
        UsageError: the attributes contradict each other, or a time has no time zone.
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
        """Percentage of the traffic of both versions; they sum to 100."""
        return {self.stable: 100 - self.percent, self.canary: self.percent}

    @property
    def terminal(self) -> bool:
        """Whether the canary is promoted or rolled back, which no decision changes."""
        return self.stage in TERMINAL

    @property
    def live(self) -> str:
        """The version that other versions are compared with: the canary if it is promoted, else the stable version."""
        return self.canary if self.stage == "promoted" else self.stable

    def after(self, decision: CanaryDecision, who: str, now: datetime) -> CanaryState:
        """The state after a decision; unchanged if it is terminal, or if the decision is to stay or for another epoch.

        Args:
            decision: from `decide`, `promotion` or `rollback`.
            who: author of the change.
            now: current time, with a time zone.

        Raises:
            UsageError: the traffic of the decision contradicts its action.
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
        """The state from the result of `to_json`.

        Args:
            content: the JSON object.
            where: URI of its file, for an error.

        Raises:
            DataError: the content is damaged.
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
    """A staged canary, which has no traffic yet.

    Args:
        stable: version that has all traffic.
        canary: version to test.
        settings: settings of the canary.
        who: author of the change.
        why: reason, as text.
        now: current time, with a time zone, from which the deadline is computed.
        epoch: epoch of the state, above those of earlier canaries of the endpoint.

    Raises:
        UsageError: the versions are the same, or the time has no time zone.
    """
    deadline = now + timedelta(seconds=settings.deadline_s)
    return CanaryState("staged", stable, canary, 0, epoch, who, why, now, deadline, settings)
