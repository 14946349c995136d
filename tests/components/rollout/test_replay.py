"""The replay of a canary at a service: a log in a bucket or a folder, and models of a registry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.endpoint_kinds import A, B
from support.registered_models import make_evaluation
from support.service_story import story
from support.serving import dynamic, load
from support.tiny_model import INSTANCES

from headrace.components.deploy.canary.evidence import Replay
from headrace.components.deploy.canary.replay import ReplayEvidence
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.registry.folder.registry import Registry
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.writer import RequestLogWriter
from headrace.components.rollout.replay import ServiceReplay, check_request_log
from headrace.components.serve.modes.answerer import RowsRequest
from headrace.core.errors import UsageError

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["folder", "gs"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "log")
    return f"gs://{request.getfixturevalue('bucket')}/log"


def test_logged_requests_of_the_canary_are_scored_by_both_versions(
    tmp_path: Path, log: str, make_model: Callable[..., Path]
) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("v1", "v2"):
        model = make_model(tmp_path / version, version)
        registry.register(str(model), make_evaluation(tmp_path / f"evaluation-{version}", version))
    replayed = ServiceReplay(registry.where, log, None)
    assert replayed("v1", "v2", BEFORE) == ReplayEvidence()
    for version in ("v1", "v2"):
        writer = RequestLogWriter(RequestLogConfig(log, share=1.0))
        dynamic(load(tmp_path / version), log=writer).answer([RowsRequest(len(INSTANCES), instances=INSTANCES)])
        writer.close(600.0)
    rows = ReplayEvidence(Replay(rows=len(INSTANCES)))
    assert replayed("v1", "v2", BEFORE) == rows
    # The same log again is no further evidence, in this process or in another one.
    assert replayed("v1", "v2", BEFORE) == rows
    assert ServiceReplay(registry.where, log, None)("v1", "v2", BEFORE) == rows
    # Requests from before the canary are none of its.
    assert (
        ServiceReplay(registry.where, log, None)("v1", "v2", datetime.now(UTC) + timedelta(days=1)) == ReplayEvidence()
    )
    with pytest.raises(UsageError, match="the version does not exist"):
        ServiceReplay(registry.where, log, None)("v1", "v9", BEFORE)


def test_a_canary_waits_for_replayed_rows_since_it_was_staged(request: Any, tmp_path: Path) -> None:
    told = story("kserve serverless", request, tmp_path)
    staged, asked = told.now, list[tuple[str, str, datetime]]()

    def replayed(stable: str, canary: str, since: datetime) -> ReplayEvidence:
        asked.append((stable, canary, since))
        return ReplayEvidence(Replay(rows=60 * len(asked)))

    settings = CanarySettings(steps=(10, 50), minimum_requests=200, minimum_replayed=150)
    outcomes = []
    for _ in range(5):
        step = told.step(settings=settings, replayed=replayed)
        outcomes.append((step.outcome, step.traffic.get(B, 0)))
        told.requests()
    assert outcomes[:3] == [("under way", 10), ("under way", 50), ("under way", 50)]
    assert outcomes[-1][0] in ("promoted", "live")
    assert set(asked) == {(A, B, staged)}


def test_what_a_replay_needs() -> None:
    check_request_log(CanarySettings(), "", "")
    check_request_log(CanarySettings(minimum_replayed=1), "gs://bucket/log", "registry")
    labelled = CanarySettings(minimum_labelled=1)
    check_request_log(labelled, "gs://bucket/log", "registry", "labels.csv", "problem.py")
    with pytest.raises(UsageError, match=r"require replayed requests.*--request-log URI"):
        check_request_log(CanarySettings(minimum_replayed=1), "", "registry")
    with pytest.raises(UsageError, match="the replay has no models"):
        check_request_log(CanarySettings(), "gs://bucket/log", "")
    with pytest.raises(UsageError, match=r"labels need the Problem, and a request log.*no request log"):
        check_request_log(CanarySettings(), "", "registry", "labels.csv", "problem.py")
    with pytest.raises(UsageError, match=r"labels need the Problem, and a request log.*no Problem file"):
        check_request_log(CanarySettings(), "gs://bucket/log", "registry", "labels.csv")
    with pytest.raises(UsageError, match="require labelled rows"):
        check_request_log(labelled, "gs://bucket/log", "registry")
