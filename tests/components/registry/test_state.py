"""The registry's state: pure changes, whatever their order."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.registry.state import Origin, RegistryState
from headrace.core.errors import GateRefused, HeadraceError, UsageError

BY = Origin("ann", "2026-01-02T03:04:05+00:00", "because")
_NAMES = st.sampled_from(["v1", "v2", "v3"])
Step = Callable[[RegistryState], RegistryState]


def registered(*versions: str, approval: str = "blessed") -> RegistryState:
    state = RegistryState("place")
    for version in versions:
        state = state.registered(version, f"versions/{version}", "0" * 64, approval, BY)
    return state


def _step(draw: st.DrawFn) -> Step:
    version, other = draw(_NAMES), draw(st.none() | _NAMES)
    return draw(
        st.sampled_from(
            [
                lambda s: s.registered(version, "place", "digest", "blessed", BY),
                lambda s: s.promoted(version, BY),
                lambda s: s.with_aliases({"challenger": other}, BY),
                lambda s: s.archived(version, BY),
                lambda s: s.marked_bad(version, BY, successor=other),
                lambda s: s.restored(version, BY),
            ]
        )
    )


@given(steps=st.lists(st.composite(_step)(), max_size=25))
def test_any_sequence_of_changes(steps: list[Step]) -> None:
    state = RegistryState("place")
    for step in steps:
        try:
            after = step(state)
        except HeadraceError:
            continue
        # Only usable versions have aliases; no version is champion and previous.
        assert {after.versions[version].status for version in after.aliases.values()} <= {"registered"}
        assert after.aliases.get("champion", "") != after.aliases.get("previous")
        assert set(state.versions) <= set(after.versions)
        # One epoch for a change, and none for a change that is made again.
        assert after.epoch == state.epoch + (after is not state)
        assert len(after.history) == after.epoch
        assert step(after) is after
        assert RegistryState.from_json(json.loads(json.dumps(after.to_json())), "place", "uri") == after
        state = after


def test_a_bad_champion_is_succeeded_by_the_previous_one_or_by_a_given_version() -> None:
    state = registered("v1", "v2", "v3").promoted("v1", BY).promoted("v2", BY)
    assert state.marked_bad("v2", BY).aliases == {"champion": "v1"}
    assert state.marked_bad("v2", BY, successor="v3").aliases == {"champion": "v3"}
    assert state.marked_bad("v1", BY).aliases == {"champion": "v2"}
    assert registered("v1").promoted("v1", BY).marked_bad("v1", BY).aliases == {}
    with pytest.raises(UsageError, match="cannot succeed itself"):
        state.marked_bad("v2", BY, successor="v2")
    with pytest.raises(GateRefused, match="marked as bad"):
        state.marked_bad("v1", BY).marked_bad("v2", BY, successor="v1")


def test_the_history_is_bounded() -> None:
    state = registered("v1", "v2")
    for turn in range(1100):
        state = state.promoted(f"v{turn % 2 + 1}", BY)
    assert state.epoch == 1102
    assert [change.epoch for change in state.history] == list(range(103, 1103))
