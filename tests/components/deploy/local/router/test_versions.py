"""The router's care for processes: which it uses, starts again and stops, with processes that are played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.components.deploy.local import launcher
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.router import versions as versions_module
from headrace.components.deploy.local.router.versions import Versions
from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.registry.state import Origin
from headrace.components.serve import processes
from headrace.components.serve.processes import Announcement
from headrace.core.errors import DataError, PlatformError
from headrace.core.storage.lock import locked

BY = Origin("sre@host", "2026-01-01T00:00:00+00:00")


@dataclass
class Machine:
    """A machine with processes, by their ids; those that are started or stopped are noted."""

    folder: EndpointFolder
    running: dict[int, Announcement] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    fails: str = ""
    ticks: int = 0

    def add(self, pid: int, version: str, *, ready: bool = True) -> None:
        url = f"http://127.0.0.1:{pid}" if ready else None
        self.ticks += 1
        self.running[pid] = Announcement(pid, str(self.ticks), version if ready else "", url)

    def start(self, model: Path, name: str, version: str, **options: Any) -> Announcement:
        assert (model, name) == (self.folder.version_path(version), "natality")
        options["waiting"]()
        self.started.append(version)
        if self.fails:
            raise PlatformError(self.fails)
        pid = 100 + len(self.started)
        self.add(pid, version)
        return self.running[pid]

    def stop(self, one: Announcement, servers: Path) -> None:
        assert servers == self.folder.servers
        self.stopped.append(one.pid)
        del self.running[one.pid]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(EndpointFolder(str(tmp_path)))
    # No pause is over by itself, however busy the real machine is.
    monkeypatch.setattr(versions_module, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(processes, "running", lambda _: list(made.running.values()))
    monkeypatch.setattr(launcher, "start", made.start)
    monkeypatch.setattr(launcher, "stop", made.stop)
    state = EndpointState("natality", "v1", None, port=1).switched("v1", "deploy", BY, previous=None)
    made.folder.write(state, None)
    return made


def change(machine: Machine, after: Callable[[EndpointState], EndpointState]) -> None:
    state = machine.folder.existing()
    machine.folder.write(after(state), state)


async def settle(versions: Versions) -> None:
    """Looks, and waits for what the look began."""
    versions._looked = 0.0
    versions.look()
    await asyncio.gather(*versions._launches.values(), *versions._stops.values(), return_exceptions=True)
    versions._looked = 0.0
    versions.look()


def run(story: Callable[[Versions], Awaitable[None]], machine: Machine) -> None:
    async def whole() -> None:
        versions = Versions(machine.folder)
        await story(versions)
        await versions.end()

    asyncio.run(whole())


def used(versions: Versions) -> dict[str, int]:
    return {version: one.pid for version, one in versions.backends.items()}


def test_processes_that_run_are_used_and_the_others_stopped(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        for pid, version in ((11, "v1"), (12, "v1"), (13, "v0")):
            machine.add(pid, version)
        machine.add(14, "", ready=False)
        await settle(versions)
        # The newest of the version; one that is being started is nobody's yet.
        assert used(versions) == {"v1": 12}
        assert (sorted(machine.stopped), machine.started) == ([11, 13], [])
        assert versions.to_json("v1")["state"] == "ready"

    run(story, machine)


def test_a_process_that_died_is_started_again_after_ever_longer_pauses(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        await settle(versions)
        assert (used(versions), machine.started) == ({"v1": 101}, ["v1"])
        del machine.running[101]
        versions.lost(versions.backends["v1"])
        assert used(versions) == {}
        machine.fails = "out of memory"
        versions.restarts["v1"].not_before = 0.0
        await settle(versions)
        shown = versions.to_json("v1")
        assert (shown["state"], shown["restarts"]) == ("down", 2)
        assert "out of memory" in shown["error"]
        # Not again before its pause is over.
        await settle(versions)
        assert len(machine.started) == 2
        machine.fails = ""
        versions.restarts["v1"].not_before = 0.0
        await settle(versions)
        assert (used(versions), versions.to_json("v1")["error"]) == ({"v1": 103}, "")

    run(story, machine)


def test_a_process_that_still_runs_is_not_lost_by_one_error(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        machine.add(11, "v1")
        await settle(versions)
        versions.lost(versions.backends["v1"])
        assert used(versions) == {"v1": 11}

    run(story, machine)


def test_a_switch_drains_the_process_before(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        machine.add(11, "v1")
        await settle(versions)
        before = versions.backends["v1"]
        before.in_flight = 1
        change(machine, lambda state: state.begun(PendingChange("deploy", "v2")))
        machine.add(12, "v2")
        await settle(versions)
        # What is being deployed is neither used nor stopped.
        assert (used(versions), machine.stopped) == ({"v1": 11}, [])
        change(machine, lambda state: state.switched("v2", "deploy", BY, previous="v1"))
        await settle(versions)
        assert (used(versions), machine.stopped) == ({"v2": 12}, [])
        before.in_flight = 0
        await settle(versions)
        assert machine.stopped == [11]

    run(story, machine)


def test_another_process_of_the_version_is_used_when_it_is_checked(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        machine.add(11, "v1")
        await settle(versions)
        change(machine, lambda state: state.begun(PendingChange("deploy", "v1")))
        machine.add(12, "v1")
        await settle(versions)
        assert (used(versions), machine.stopped) == ({"v1": 11}, [])
        change(machine, lambda state: state.settled("deploy"))
        await settle(versions)
        assert (used(versions), machine.stopped) == ({"v1": 12}, [11])

    run(story, machine)


def test_who_deploys_starts_the_process_and_after_a_kill_the_router_does(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        change(machine, lambda state: state.begun(PendingChange("deploy", "v1")))
        with locked(machine.folder.uri):
            await settle(versions)
            assert machine.started == []
        await settle(versions)
        assert machine.started == ["v1"]

    run(story, machine)


def test_what_is_served_stays_served_when_the_state_is_damaged_or_the_endpoint_stopped(machine: Machine) -> None:
    async def story(versions: Versions) -> None:
        machine.add(11, "v1")
        await settle(versions)
        whole = (machine.folder.path / "endpoint.json").read_bytes()
        (machine.folder.path / "endpoint.json").write_text("{")
        with pytest.raises(DataError):
            versions.look()
        assert used(versions) == {"v1": 11}
        (machine.folder.path / "endpoint.json").write_bytes(whole)
        change(machine, lambda state: replace(state, stopped=True))
        del machine.running[11]
        await settle(versions)
        assert machine.started == []

    run(story, machine)
