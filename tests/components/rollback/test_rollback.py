"""A rollback through all that it reaches, killed before and after each of its effects and run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.registered_models import make_model

from headrace.components.deploy import registries
from headrace.components.deploy.base import ServiceStatus
from headrace.components.deploy.state import EndpointState, PendingChange, TrafficChange
from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.state import Origin
from headrace.components.rollback import rollback as module
from headrace.components.rollback.rollback import RollbackResult, rollback
from headrace.components.score import publishing
from headrace.core.errors import GateRefused, PlatformError, UsageError
from headrace.core.progress import Progress

BY = Origin("sre@host", "2026-01-01T00:00:00+00:00")


class Killed(BaseException):
    """The process ended here."""


class Memory:
    """An endpoint whose service is a dictionary; it dies at the effect of a number, before or after it."""

    where = "memory"

    def __init__(self, registry: str = "") -> None:
        self.now = EndpointState("natality", "v1", None).switched("v1", "deploy", BY, previous=None)
        self.now = replace(self.now.switched("v2", "deploy", BY, previous="v1"), registry=registry)
        self.traffic = {"v2": 100}
        self.effects = 0
        self.dies_at = (-1, "before")

    @contextmanager
    def effect(self) -> Iterator[None]:
        number, self.effects = self.effects, self.effects + 1
        if self.dies_at == (number, "before"):
            raise Killed
        yield
        if self.dies_at == (number, "after"):
            raise Killed

    @contextmanager
    def changing(self) -> Iterator[None]:
        yield

    def state(self) -> EndpointState:
        return self.now

    def write(self, state: EndpointState, before: EndpointState) -> None:
        with self.effect():
            assert before == self.now
            self.now = state

    def registry(self) -> str:
        return self.now.registry

    def check(self, version: str) -> None:
        if version not in ("v1", "v2"):
            raise UsageError("the version does not exist", where=self.where, received=version)

    def shift(self, state: EndpointState, pending: PendingChange, report: Progress) -> str:
        report("shifting")
        # Intent comes before effect.
        assert state == self.now
        assert self.now.pending == pending
        with self.effect():
            self.traffic = {pending.version: 100}
        if state.live != pending.version:
            self.write(state.switched(pending.version, "rollback", BY, previous=None), state)
        return f"{pending.version} has all traffic"

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        raise NotImplementedError

    def undeploy(self, version: str) -> None:
        raise NotImplementedError

    def status(self) -> ServiceStatus:
        return ServiceStatus(self.traffic)

    def history(self) -> tuple[TrafficChange, ...]:
        return self.now.history


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry(str(tmp_path / "registry"))
    for version in ("v1", "v2", "v3"):
        made.register(make_model(tmp_path / version, version))
    made.promote("v1")
    made.promote("v2")
    return made


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stands for published predictions, which tests/components/score/test_checking.py has with real files."""
    now = {"current": "two", "model_version": "v2", "calls": ""}

    def roll_back(_: str, to: str) -> publishing.Publication:
        now.update(current=to, model_version="v1", calls=now["calls"] + to)
        return publishing.Publication("uri", to, None)

    monkeypatch.setattr(module, "current", lambda _: now)
    monkeypatch.setattr(module.publishing, "last_not_of", lambda _, version: None if version == "v1" else "one")
    monkeypatch.setattr(module.publishing, "rollback", roll_back)
    return now


def deaths(endpoint: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the process die at the registry and at the predictions too."""
    for place, name in ((registries, "mark_bad"), (module, "set_back")):
        monkeypatch.setattr(place, name, _dying(endpoint, getattr(place, name)))


def _dying(endpoint: Memory, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        with endpoint.effect():
            return real(*arguments)

    return call


def outcome(endpoint: Memory, registry: Registry, published: dict[str, str]) -> tuple[object, ...]:
    state = registry.state()
    return (
        endpoint.traffic,
        endpoint.now.live,
        endpoint.now.previous,
        endpoint.now.pending,
        sorted(endpoint.now.bad),
        dict(state.aliases),
        {name: one.status for name, one in state.versions.items()},
        published["current"],
        published["calls"],
        [(c.action, c.version) for c in endpoint.now.history],
    )


DONE = (
    {"v1": 100},
    "v1",
    None,
    None,
    ["v2"],
    {"champion": "v1"},
    {"v1": "registered", "v2": "bad", "v3": "registered"},
    "one",
    "one",
    [("deploy", "v1"), ("deploy", "v2"), ("rollback", "v1")],
)


def test_it_reaches_everything_and_says_so(registry: Registry, published: dict[str, str]) -> None:
    endpoint = Memory(registry.folder)
    result = rollback(endpoint, predictions="published", why="pager")
    assert result == RollbackResult(
        "memory",
        "v1",
        "v2",
        (
            module.RollbackStep("traffic", "v1 has all traffic"),
            module.RollbackStep("registry", f"v2 is marked as bad in {registry.folder}; champion: v1"),
            module.RollbackStep("predictions", "published shows one again"),
        ),
    )
    assert outcome(endpoint, registry, published) == DONE
    change = registry.state().history[-1]
    assert (change.action, change.version, change.why) == ("mark bad", "v2", "pager")
    epoch = registry.state().epoch
    again = rollback(endpoint, predictions="published")
    assert (again.version, again.bad) == ("v1", "")
    assert again.steps[1].done == "published shows predictions of version v1: nothing to change"
    assert outcome(endpoint, registry, published) == DONE
    assert registry.state().epoch == epoch
    with pytest.raises(GateRefused, match="the version is marked as bad"):
        registry.promote("v2")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(6))
def test_killed_anywhere_and_run_again(
    registry: Registry, published: dict[str, str], monkeypatch: pytest.MonkeyPatch, number: int, when: str
) -> None:
    endpoint = Memory(registry.folder)
    deaths(endpoint, monkeypatch)
    endpoint.dies_at = (number, when)
    with pytest.raises(Killed):
        rollback(endpoint, predictions="published")
    # What is done stays; and traffic is whole at any time.
    assert sum(endpoint.now.traffic.values()) == 100
    rollback(endpoint, *((lambda *_, **__: None,)), predictions="published")
    assert outcome(endpoint, registry, published) == DONE


def test_predictions_can_follow_later(registry: Registry, published: dict[str, str]) -> None:
    endpoint = Memory(registry.folder)
    rollback(endpoint)
    assert published["current"] == "two"
    later = rollback(endpoint, predictions="published")
    assert [step.name for step in later.steps] == ["traffic", "predictions"]
    assert outcome(endpoint, registry, published) == DONE


def test_a_registry_that_fails_leaves_a_rollback_that_says_how_to_finish_it(
    registry: Registry, published: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Memory(registry.folder)
    with monkeypatch.context() as patch:
        patch.setattr(registries, "mark_bad", _fails)
        with pytest.raises(PlatformError, match="half-finished: run the same command again"):
            rollback(endpoint, predictions="published")
    assert (endpoint.traffic, endpoint.now.pending is None) == ({"v1": 100}, False)
    rollback(endpoint)
    assert outcome(endpoint, registry, published) == DONE


def _fails(*_: object) -> str:
    raise PlatformError("the service failed")


def test_without_a_registry_the_endpoint_has_the_mark() -> None:
    endpoint = Memory()
    result = rollback(endpoint)
    assert result.steps[1].done.startswith("the endpoint knows no registry")
    assert sorted(endpoint.now.bad) == ["v2"]


def test_versions_that_cannot_be_returned_to(registry: Registry) -> None:
    endpoint = Memory(registry.folder)
    before = endpoint.now
    with pytest.raises(UsageError, match="the version does not exist"):
        rollback(endpoint, to="v3")
    registry.mark_bad("v1")
    with pytest.raises(UsageError, match=r"the endpoint has no previous version to roll back to.*not marked as bad"):
        rollback(endpoint)
    with pytest.raises(GateRefused, match="the version is marked as bad"):
        rollback(endpoint, to="v1")
    assert endpoint.now == before
    assert registry.aliases() == {"champion": "v2"}


def test_predictions_of_the_bad_version_alone(published: dict[str, str]) -> None:
    assert module.set_back("published", "v9", "v1") == "published shows predictions of version v2: nothing to change"
    published["model_version"] = "v1"
    with pytest.raises(GateRefused, match="all published predictions are of the bad version"):
        module.set_back("published", "v1", "v0")
