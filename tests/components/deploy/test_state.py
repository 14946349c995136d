"""The endpoint's state as a machine: whatever is done in whatever order, what always holds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.deploy.plan import rollback_plan
from headrace.components.deploy.state import EndpointState, PendingChange, TrafficChange, state_of
from headrace.components.registry.state import Origin
from headrace.core.errors import DataError, GateRefused, UsageError

BY = Origin("sre@host", "2026-01-01T00:00:00+00:00", "pager")
VERSIONS = ("v1", "v2", "v3", "v4")


def first() -> EndpointState:
    return EndpointState("natality", "v1", None).switched("v1", "deploy", BY, previous=None)


def deployed(state: EndpointState, version: str) -> EndpointState:
    if version in state.bad or version == state.live or (state.pending and state.pending.action == "rollback"):
        return state
    begun = state.begun(PendingChange("deploy", version, who=BY.who, at=BY.at, why=BY.why))
    return begun.switched(version, "deploy", BY, previous=state.live)


def planned(state: EndpointState, to: str | None) -> PendingChange | None:
    try:
        return rollback_plan(state, BY, where="here", to=to)
    except (UsageError, GateRefused):
        return None


def shifted(state: EndpointState, pending: PendingChange) -> EndpointState:
    if dict(state.traffic) == {pending.version: 100}:
        return state
    return state.switched(pending.version, "rollback", BY, previous=None)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["deploy", "rollback", "killed rollback"]), st.sampled_from(VERSIONS))))
def test_what_always_holds(steps: list[tuple[str, str]]) -> None:
    state = first()
    for action, version in steps:
        before = state
        if action == "deploy":
            state = deployed(state, version)
        elif (plan := planned(state, None)) is not None:
            state = shifted(state.begun(plan), plan)
            if action == "rollback":
                state = state.settled("rollback")
                # A second press of the button.
                assert planned(state, None) is None
            # Whatever was killed, the same plan is found again, and done once.
            elif (again := planned(state, None)) is not None:
                assert again == plan
                assert shifted(state.begun(again), again) == state
            assert plan.bad in state.bad
            assert state.live == plan.version != plan.bad
        assert sum(state.traffic.values()) == 100
        assert state.traffic[state.live] == 100
        assert state.live not in state.bad
        assert state.previous not in state.bad
        assert state.epoch >= before.epoch
        assert [c.epoch for c in state.history] == list(range(1, state.epoch + 1))
        assert state_of(json.loads(json.dumps(state.to_json())), "here") == state


def test_a_rollback_goes_to_the_last_version_that_is_not_bad() -> None:
    state = first()
    for version in ("v2", "v3"):
        state = deployed(state, version)
    plan = rollback_plan(state, BY, where="here")
    assert plan == PendingChange("rollback", "v2", "v3", "", BY.who, BY.at, BY.why)
    state = deployed(shifted(state.begun(plan), plan).settled("rollback"), "v4")
    # v3 is bad, so v2 is what was there before v4.
    assert (state.previous, state.before()) == ("v2", "v2")
    chosen = rollback_plan(state, BY, where="here", to="v1", predictions="published")
    assert chosen == PendingChange("rollback", "v1", "v4", "published", BY.who, BY.at, BY.why)
    # Begun, and then told to go elsewhere: the bad one stays the same.
    other = rollback_plan(shifted(state.begun(chosen), chosen), BY, where="here", to="v2")
    assert other is not None
    assert (other.version, other.bad, other.predictions) == ("v2", "v4", "published")


def test_refusals() -> None:
    state = first()
    with pytest.raises(
        UsageError, match=r"the endpoint has no previous version to roll back to.*v1 is the first version"
    ):
        rollback_plan(state, BY, where="here")
    state = deployed(state, "v2")
    plan = rollback_plan(state, BY, where="here")
    assert plan is not None
    state = shifted(state.begun(plan), plan).settled("rollback")
    with pytest.raises(GateRefused, match=r"the version to return to is marked as bad.*by sre@host.*pager"):
        rollback_plan(state, BY, where="here", to="v2")


@pytest.mark.parametrize(
    "traffic", [{"v1": 99}, {"v2": 100}, {"v1": 101, "v2": -1}, {"v1": 99.5, "v2": 0.5}, {"v1": 100, "v2": 0}]
)
def test_traffic_is_whole_and_sums_to_100(traffic: dict[str, int]) -> None:
    with pytest.raises(DataError, match="the traffic of the endpoint is not valid"):
        EndpointState("natality", "v1", None, traffic=traffic)


def test_the_history_is_bounded() -> None:
    state = first()
    for number in range(150):
        state = state.switched(f"v{number}", "deploy", BY, previous=None)
    assert (len(state.history), state.epoch) == (100, 151)
    assert state.history[-1] == TrafficChange("v149", "deploy", BY.at, BY.who, BY.why, 151, {"v149": 100})
