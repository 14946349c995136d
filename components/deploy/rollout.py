"""Rollout: a canary under way in the state of its endpoint, with the evidence so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.deploy.canary.evidence import Evidence, VersionTraffic
from headrace.components.deploy.canary.state import CanaryState
from headrace.core.errors import DataError, UserError


@dataclass(frozen=True)
class Rollout:
    """A canary and its evidence.

    Attributes:
        canary: state of the canary.
        evidence: evidence of the steps before the current one.
        baseline: counts by version at the beginning of the current step.
        counted: time of the baseline in the servers' traffic logs, in seconds since 1970; 0 for a router's counts.
        logged: writers of the request log when the canary was staged, which the replay ignores.
    """

    canary: CanaryState
    evidence: Evidence
    baseline: Mapping[str, VersionTraffic] = field(default_factory=dict)
    counted: float = 0.0
    logged: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The rollout as a JSON object."""
        baseline = {version: one.to_json() for version, one in self.baseline.items()}
        return {
            "canary": self.canary.to_json(),
            "evidence": self.evidence.to_json(),
            "baseline": baseline,
            "counted": self.counted,
            "logged": list(self.logged),
        }

    @staticmethod
    def from_json(content: Any, where: str) -> Rollout:
        """The rollout from the result of `to_json`.

        Args:
            content: the JSON object.
            where: URI of its file, for an error.

        Raises:
            DataError: the content is damaged.
        """
        try:
            baseline = {str(version): VersionTraffic.from_json(one) for version, one in content["baseline"].items()}
            canary, evidence = content["canary"], content["evidence"]
            # Earlier releases wrote neither.
            counted, logged = float(content.get("counted", 0.0)), tuple(map(str, content.get("logged", ())))
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise DataError("the canary in endpoint.json is damaged", where=where, received=repr(error)) from error
        return Rollout(
            CanaryState.from_json(canary, where), Evidence.from_json(evidence, where), baseline, counted, logged
        )
