"""Revival of a router: only where one is to run and none does, and without waiting for whoever stops the endpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.components.deploy.local import control
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.router import revive
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import PlatformError
from headrace.core.storage.lock import locked


@pytest.fixture
def folder(tmp_path: Path) -> EndpointFolder:
    endpoint = EndpointFolder(str(tmp_path / "endpoint"))
    endpoint.router.mkdir(parents=True)
    endpoint.write(EndpointState("natality", "v1", None, port=1), None)
    return endpoint


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports of the routers that were started."""
    ports: list[int] = []

    def ensure(folder: EndpointFolder, port: int, waiting: Callable[[], None]) -> None:
        ports.append(port)

    monkeypatch.setattr(control, "ensure", ensure)
    return ports


def test_a_router_that_is_to_run_is_started(folder: EndpointFolder, started: list[int]) -> None:
    assert revive.main([str(folder.router)]) == 0
    assert started == [1]


def test_one_that_runs_is_left_alone_however_slowly_it_answers(folder: EndpointFolder, started: list[int]) -> None:
    with locked(str(folder.router)):
        assert revive.main([str(folder.router)]) == 0
    assert started == []


def test_whoever_stops_or_removes_the_endpoint_is_not_waited_for(
    folder: EndpointFolder, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revive, "_LOCK_TIMEOUT_S", 0.0)
    state = folder.existing()
    with locked(folder.uri):
        assert revive.main([str(folder.router)]) == PlatformError.exit_status
        folder.write(replace(state, stopped=True), state)
        assert revive.main([str(folder.router)]) == 0
    shutil.rmtree(folder.path)
    assert revive.main([str(folder.router)]) == 0
    assert not folder.path.exists()
    assert started == []
