"""A version of a run of dynamic training at Vertex AI and KServe: a step a call, until it is the champion or goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.endpoint_kinds import KINDS, A, B, Case
from support.ledgers import arrival, claimed

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.request_log.traffic import INTERVAL_S, TrafficLog
from headrace.components.rollout.renewal import renew
from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import Overtaken

SETTINGS = CanarySettings(steps=(10, 50), minimum_requests=200, minimum_step_s=60.0, deadline_s=3600.0)


class Renewal:
    """A version of a run, and the traffic that the servers log."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.claim: Claim = claimed(str(folder / "ledger"), [arrival(0)])
        self._log = str(folder / "traffic")
        self._servers: dict[str, TrafficLog] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def step(self, version: str = B) -> RolloutStep:
        config = ServiceRolloutConfig(version, self._log, SETTINGS, registry=self.case.registry.where)
        endpoint: Any = self.case.open()
        return renew(endpoint, config, self.claim, now=lambda: self._now)

    def requests(self, errors: float = 0.0, count: int = 3000) -> None:
        at = int(self._now.timestamp()) // INTERVAL_S * INTERVAL_S + INTERVAL_S
        for version, percent in self.case.served().items():
            server = self._servers.setdefault(version, TrafficLog(self._log))
            requests = count * percent // 100
            for number in range(requests):
                server.answered(version, 500 if version == B and number < errors * requests else 200, 0.005)
            server.write(at)
        self._now += timedelta(seconds=120)


@pytest.fixture(params=[kind for kind in KINDS if kind != "local"])
def renewal(request: pytest.FixtureRequest, tmp_path: Path) -> Renewal:
    return Renewal(KINDS[request.param](request, tmp_path), tmp_path)


def test_it_becomes_the_champion_step_by_step(renewal: Renewal) -> None:
    case = renewal.case
    case.add(A, 100)
    case.add(B, 0)
    assert (renewal.step().outcome, case.served()) == ("under way", {A: 90, B: 10})
    outcomes = []
    for _ in range(2):
        renewal.requests()
        outcomes.append(renewal.step())
    assert [one.outcome for one in outcomes] == ["under way", "promoted"]
    assert (case.served(), case.registry.aliases()["champion"]) == ({B: 100}, B)
    # Whoever was killed before it told the ledger finds the same.
    again = renewal.step()
    assert (again.outcome, again.reasons) == ("live", (" ".join(outcomes[-1].reasons),))


def test_it_is_rolled_back_and_says_so_again(renewal: Renewal) -> None:
    case = renewal.case
    case.add(A, 100)
    case.add(B, 0)
    renewal.step()
    renewal.requests(errors=0.2)
    ended = renewal.step()
    assert (ended.outcome, ended.live, case.served()) == ("rolled back", A, {A: 100})
    assert case.registry.state().versions[B].status == "bad"
    again = renewal.step()
    assert (again.outcome, again.live, again.reasons) == ("rolled back", A, (" ".join(ended.reasons),))


def test_the_first_version_is_the_champion_at_once(renewal: Renewal) -> None:
    case = renewal.case
    # Where nothing is served, a deployment without traffic gets all.
    case.add(A, 0)
    assert "champion" not in case.registry.aliases()
    first = renewal.step(A)
    assert (first.outcome, case.served()) == ("live", {A: 100})
    assert case.registry.aliases()["champion"] == A
    changes = case.registry.state().epoch
    assert renewal.step(A) == first
    assert case.registry.state().epoch == changes


def test_a_run_that_was_overtaken_changes_nothing(renewal: Renewal) -> None:
    case = renewal.case
    case.add(A, 100)
    case.add(B, 0)
    Ledger(renewal.claim.ledger).end(renewal.claim.run_id, renewal.claim.epoch, "kept")
    with pytest.raises(Overtaken):
        renewal.step()
    assert (case.served(), case.registry.aliases().get("challenger")) == ({A: 100}, None)
