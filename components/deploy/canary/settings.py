"""Canary settings: steps of traffic, minimum of requests, deadline, tolerances and error probability, with defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from headrace.core.checks import check_count, check_fraction, check_positive, check_word
from headrace.core.errors import UsageError

AtDeadline = Literal["roll back", "stay"]
_COUNTS = frozenset({"minimum_requests", "minimum_replayed", "minimum_labelled"})


@dataclass(frozen=True)
class CanarySettings:
    """Settings of a canary.

    Args:
        steps: traffic of the canary in percent, 1 to 99, ascending; after the last step it is promoted.
        minimum_requests: minimum number of requests at each step, of the canary and of the stable version, 1 or more.
        minimum_step_s: minimum duration of a step, in seconds, 0 or more.
        deadline_s: maximum time from staging to the decision, in seconds, above 0.
        at_deadline: "roll back", or "stay", which does not change the traffic until a person decides.
        false_rollback: maximum probability, in (0, 0.5], that a canary no worse than the stable version is ever rolled
            back by its evidence, however often that is checked.
        maximum_error_rate: maximum error rate of the canary at a step, in [0, 1]. Above it, the canary is not promoted,
            whatever the error rate of the stable version.
        latency_tolerance: factor, 1 or more, by which the canary may be slower; rounded up to a latency edge.
        latency_slack: fraction of requests, in [0, 1), that may be even slower, for example in a pause of the process.
        minimum_replayed: minimum number of replayed rows before promotion.
        maximum_differing: maximum fraction of replayed rows, in (0, 1], whose predictions differ; None for no limit.
        minimum_labelled: minimum number of labelled rows that both versions scored, before promotion.
        loss_tolerance: maximum increase of the canary's mean loss per labelled row, in [0, 1).

    Raises:
        UsageError: a value is outside its range.
    """

    steps: tuple[int, ...] = (10, 50)
    minimum_requests: int = 2000
    minimum_step_s: float = 60.0
    deadline_s: float = 3600.0
    at_deadline: AtDeadline = "roll back"
    false_rollback: float = 0.01
    maximum_error_rate: float = 0.05
    latency_tolerance: float = 1.25
    latency_slack: float = 0.02
    minimum_replayed: int = 0
    maximum_differing: float | None = None
    minimum_labelled: int = 0
    loss_tolerance: float = 0.0

    def __post_init__(self) -> None:
        where = "CanarySettings"
        steps = self.steps if isinstance(self.steps, Sequence) else ()
        for percent in steps:
            check_count(percent, "a step of the canary", minimum=1, maximum=99, where=where)
        if not steps or list(steps) != sorted(set(steps)):
            raise UsageError(
                "the steps of the canary are wrong",
                where=where,
                expected="one or more percentages from 1 to 99, each greater than the one before",
                received=repr(self.steps),
            )
        check_count(self.minimum_requests, "minimum_requests", where=where)
        check_count(self.minimum_replayed, "minimum_replayed", minimum=0, where=where)
        check_count(self.minimum_labelled, "minimum_labelled", minimum=0, where=where)
        if self.minimum_step_s != 0:
            check_positive(self.minimum_step_s, "minimum_step_s", where=where)
        check_positive(self.deadline_s, "deadline_s", where=where)
        check_word(self.at_deadline, "at_deadline", ("roll back", "stay"), where=where)
        check_fraction(self.maximum_error_rate, "maximum_error_rate", where=where)
        if self.maximum_differing is not None:
            check_fraction(self.maximum_differing, "maximum_differing", where=where)
            check_positive(self.maximum_differing, "maximum_differing", where=where)
        check_fraction(self.loss_tolerance, "loss_tolerance", where=where)
        check_positive(self.false_rollback, "false_rollback", where=where)
        check_positive(self.latency_tolerance, "latency_tolerance", where=where)
        _check_range(self.false_rollback <= 0.5, "false_rollback", "at most 0.5", self.false_rollback)
        _check_range(self.latency_tolerance >= 1, "latency_tolerance", "1 or more", self.latency_tolerance)
        check_fraction(self.latency_slack, "latency_slack", where=where)
        _check_range(self.latency_slack < 1, "latency_slack", "less than 1", self.latency_slack)
        _check_range(self.loss_tolerance < 1, "loss_tolerance", "less than 1", self.loss_tolerance)

    @property
    def shortest_s(self) -> float:
        """Minimum time until the canary is promoted, in seconds."""
        return self.minimum_step_s * len(self.steps)

    @property
    def needs_replay(self) -> bool:
        """Whether replayed or labelled rows decide, too."""
        return bool(self.minimum_replayed or self.minimum_labelled or self.maximum_differing is not None)

    def within(self, seconds: float) -> CanarySettings:
        """The settings with a deadline of at most a number of seconds, which must be above 0."""
        return replace(self, deadline_s=min(self.deadline_s, seconds))

    def to_json(self) -> dict[str, Any]:
        """The settings by name. None is left out, because pipeline engines reject null in a JSON object."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {**given, "steps": list(self.steps)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> CanarySettings:
        """The settings from the result of `to_json`; missing settings have their defaults.

        Raises:
            UsageError: a value is outside its range.
            ValueError: a setting is unknown.
        """
        unknown = set(content) - {field.name for field in fields(CanarySettings)}
        if unknown:
            raise ValueError(f"unknown settings {', '.join(sorted(unknown))}")
        # Pipeline engines store the integers of a JSON object as floats.
        given = {name: _whole(value) if name in _COUNTS else value for name, value in content.items()}
        if isinstance(given.get("steps"), Sequence):
            given["steps"] = tuple(map(_whole, given["steps"]))
        return CanarySettings(**given)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_range(valid: bool, name: str, expected: str, received: float) -> None:
    if not valid:
        raise UsageError(f"{name} is wrong", where="CanarySettings", expected=expected, received=repr(received))


def settings_of(given: Mapping[str, Any]) -> CanarySettings:
    """The settings of a task's input.

    Raises:
        UsageError: a setting does not exist, or its value is outside its range.
    """
    try:
        return CanarySettings.from_json(given)
    except ValueError as error:
        raise UsageError("the setting of the canary does not exist", where="settings", received=str(error)) from error
