"""The story of a canary at a service: its endpoint, the time, and the traffic that its servers log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.endpoint_kinds import KINDS, A, B, Case

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.request_log.traffic import INTERVAL_S, TrafficLog
from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig, advance

SETTINGS = CanarySettings(steps=(10, 50), minimum_requests=200, minimum_step_s=60.0, deadline_s=3600.0)


@dataclass
class Story:
    """A canary B beside the live version A, the time, and the traffic that its servers log."""

    case: Case
    folder: str
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seen: list[dict[str, int]] = field(default_factory=list)
    servers: dict[str, TrafficLog] = field(default_factory=dict)

    def step(self, *, settings: CanarySettings = SETTINGS, replayed: Any = None, **options: Any) -> RolloutStep:
        config = ServiceRolloutConfig(B, self.folder, settings, registry=self.case.registry.where, **options)
        endpoint: Any = self.case.open()
        try:
            return advance(endpoint, config, replayed=replayed, now=lambda: self.now)
        finally:
            served = self.case.served()
            assert sum(served.values()) == 100
            if self.seen[-1:] != [served]:
                self.seen.append(served)

    def requests(self, errors: float = 0.0, count: int = 3000) -> None:
        """The servers answer requests by the present traffic, and two minutes pass."""
        at = int(self.now.timestamp()) // INTERVAL_S * INTERVAL_S + INTERVAL_S
        for version, percent in self.case.served().items():
            deployment = self.case.open().deployments().get(version, "")
            server = self.servers.setdefault(version, TrafficLog(self.folder, deployment))
            requests = count * percent // 100
            failed = int(errors * requests) if version == B else 0
            for number in range(requests):
                server.answered(version, 500 if number < failed else 200, 0.005)
            server.write(at)
        self.now += timedelta(seconds=120)


def story(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    return story_of(KINDS[kind](request, tmp_path), tmp_path)


def story_of(case: Case, tmp_path: Path) -> Story:
    case.add(A, 100)
    case.add(B, 0)
    assert case.served() == {A: 100}
    return Story(case, str(tmp_path / "traffic"))
