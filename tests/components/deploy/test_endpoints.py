"""Endpoints of this machine, of Vertex AI and of KServe: one story, told alike of all of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.endpoint_kinds import BY, KINDS, A, B, C, Case

from headrace.core.errors import GateRefused, PlatformError, UsageError


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    made = KINDS[request.param](request, tmp_path)
    made.add(A, 100)
    made.add(B, 100)
    return made


@pytest.fixture(params=[kind for kind in KINDS if kind != "local"])
def split(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A live, B with 20 % of the traffic."""
    made = KINDS[request.param](request, tmp_path)
    made.add(A, 100)
    made.add(B, 20)
    return made


def test_a_rollback_reaches_traffic_and_aliases_and_twice_is_once(case: Case) -> None:
    assert (case.served(), case.registry.aliases()["champion"]) == ({B: 100}, B)
    assert dict(case.open().status().traffic) == {B: 100}
    assert case.open().status().ready
    result = case.rollback(why="pager")
    assert (result.version, result.bad) == (A, B)
    assert (case.served(), case.registry.aliases()) == ({A: 100}, {"champion": A})
    state = case.open().state()
    assert (state.live, state.previous, sorted(state.bad), state.pending) == (A, None, [B], None)
    last = case.open().history()[-1]
    assert (last.action, last.version, last.why, dict(last.traffic)) == ("rollback", A, "pager", {A: 100})
    with pytest.raises(GateRefused, match="the version is marked as bad"):
        case.registry.promote(B)
    again = case.rollback()
    assert (again.version, again.bad) == (A, "")
    assert (case.served(), case.open().state()) == ({A: 100}, state)
    # A later version is live, and the way back does not lead to the bad one.
    case.add(C, 100)
    assert case.served() == {C: 100}
    assert case.rollback().version == A
    assert (case.served(), case.registry.aliases()) == ({A: 100}, {"champion": A})


def test_killed_between_traffic_and_registry_it_is_finished(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("headrace.components.deploy.registries.mark_bad", _fails)
        with pytest.raises(PlatformError, match="half-finished"):
            case.rollback(why="pager")
    assert (case.served(), case.registry.aliases()["champion"]) == ({A: 100}, B)
    pending = case.open().state().pending
    assert pending is not None
    assert (pending.version, pending.bad, pending.why) == (A, B, "pager")
    result = case.rollback()
    assert (result.version, result.bad) == (A, B)
    assert (case.served(), case.registry.aliases()) == ({A: 100}, {"champion": A})
    assert case.open().state().pending is None


def _fails(*_: object) -> str:
    raise PlatformError("the service failed")


def test_promote_goes_forward_and_marks_nothing(case: Case) -> None:
    endpoint = case.open()
    with endpoint.changing():
        pass
    endpoint.promote(A, BY, lambda *_, **__: None)
    state = case.open().state()
    assert (case.served(), state.live, state.previous, dict(state.bad)) == ({A: 100}, A, B, {})
    assert (state.history[-1].action, state.history[-1].why) == ("promote", "by hand")
    with pytest.raises(UsageError, match="the version has traffic"):
        case.open().undeploy(A)
    case.open().undeploy(C)


def test_a_version_that_is_not_there(case: Case) -> None:
    before = case.open().state()
    with pytest.raises(UsageError, match=r"is not deployed|does not exist|is not known"):
        case.rollback(to=C)
    assert case.open().state() == before
    assert case.served() == {B: 100}


def test_two_changes_at_once(case: Case) -> None:
    one, other = case.open(), case.open()
    first, second = one.state(), other.state()
    one.write(first.marked_bad(C, BY), first)
    with pytest.raises(PlatformError, match="another process changed the endpoint at the same time"):
        other.write(second.marked_bad(A, BY), second)
    assert sorted(case.open().state().bad) == [C]


def test_a_canary_is_left_for_the_live_version(split: Case) -> None:
    assert split.served() == {A: 80, B: 20}
    state = split.open().state()
    assert (state.live, dict(state.traffic)) == (A, {A: 80, B: 20})
    result = split.rollback()
    assert (result.version, result.bad) == (A, B)
    assert (split.served(), split.registry.aliases()) == ({A: 100}, {"champion": A})
    assert split.rollback().bad == ""


def test_a_canary_is_promoted(split: Case) -> None:
    split.open().promote(B, BY, lambda *_, **__: None)
    assert split.served() == {B: 100}
    state = split.open().state()
    assert (state.live, state.previous) == (B, A)
    assert split.rollback().version == A
    assert split.served() == {A: 100}


def test_versions_of_vertex_are_in_the_order_of_their_numbers_whatever_the_clock_was(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The clock was an hour behind after the first deployment, and nothing was written about the endpoint yet."""
    case = KINDS["vertex"](request, tmp_path)
    for version, percent in ((A, 100), (B, 20), (C, 20)):
        case.add(version, percent)
    server = request.getfixturevalue("vertex_server")
    (held,) = (one for name, one in server.vertex.resources.items() if "/endpoints/" in name)
    models = {one.model_version_id: one for one in held.deployed_models}
    models["1"].create_time += timedelta(hours=1)
    held.traffic_split = {models["3"].id: 100}
    state = case.open().state()
    assert (state.live, state.previous) == (C, B)
    # Somebody deployed the first version again in the console, and gave it traffic.
    again = type(models["1"])(models["1"])
    again.id, again.create_time = "77", models["2"].create_time - timedelta(hours=2)
    held.deployed_models.append(again)
    held.traffic_split = {models["3"].id: 70, models["1"].id: 10, "77": 20}
    endpoint = case.open()
    assert dict(endpoint.state().traffic) == {A: 30, C: 70}
    assert endpoint.deployments()[A] == "77"
