"""Canary state: transitions, JSON, and what no sequence of decisions breaks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.canaries import START, canary, staged

from headrace.components.deploy.canary.settings import CanarySettings, settings_of
from headrace.components.deploy.canary.state import ACTIONS, CanaryDecision, CanaryState, stage
from headrace.core.errors import DataError, UsageError


def test_a_canary_goes_from_staged_over_its_steps_to_promoted() -> None:
    state = staged()
    assert (state.stage, dict(state.traffic), state.live) == ("staged", {"v1": 100, "v2": 0}, "v1")
    assert state.deadline == START + timedelta(hours=1)
    later = START + timedelta(minutes=5)
    state = state.after(CanaryDecision("widen", 1, 10, ("First step.", "Go.")), "bob", later)
    assert (state.stage, dict(state.traffic), state.epoch) == ("canary", {"v1": 90, "v2": 10}, 2)
    assert (state.who, state.why, state.at, state.deadline) == ("bob", "First step. Go.", later, staged().deadline)
    state = state.after(state.promotion("good"), "bob", later)
    assert (state.stage, dict(state.traffic), state.live) == ("promoted", {"v1": 0, "v2": 100}, "v2")


def test_a_decision_for_an_earlier_epoch_changes_nothing() -> None:
    decision = CanaryDecision("widen", 2, 50, ("More.",))
    once = canary().after(decision, "ann", START)
    assert once.percent == 50
    assert once.after(decision, "ann", START) is once


def test_a_terminal_state_stays() -> None:
    rolled_back = canary().after(canary().rollback("bad"), "ann", START)
    assert (rolled_back.stage, rolled_back.live) == ("rolled_back", "v1")
    assert rolled_back.after(rolled_back.promotion("no"), "ann", START) is rolled_back


def test_traffic_is_widened_and_never_narrowed() -> None:
    with pytest.raises(UsageError, match="more than 10 %"):
        canary().after(CanaryDecision("widen", 2, 10, ()), "ann", START)


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(1, 5), st.integers(1, 99), st.booleans()), min_size=1))
def test_traffic_sums_to_100_and_json_is_exact_after_any_decisions(steps: list[tuple[str, int, int, bool]]) -> None:
    state = staged()
    for action, epoch, percent, twice in steps:
        to = {"promote": 100, "roll back": 0}.get(action, percent)
        decision = CanaryDecision(action, epoch, to, ("Why.",))  # type: ignore[arg-type]
        try:
            after = state.after(decision, "ann", START)
        except UsageError:
            assert action == "widen"
            continue
        assert after.epoch - state.epoch in (0, 1)
        assert not state.terminal or after is state
        state = after.after(decision, "ann", START) if twice else after
        assert state == after
        assert sum(state.traffic.values()) == 100
        assert all(0 <= part <= 100 for part in state.traffic.values())
        assert CanaryState.from_json(json.loads(json.dumps(state.to_json())), "file") == state


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"percent": 101}, "101"),
        ({"stage": "canary"}, "percent of a canary that is canary"),
        ({"stage": "done"}, "done"),
        ({"canary": "v1"}, "two different versions"),
        ({"deadline": "2026-01-02T03:04:05"}, "time zone"),
        ({"at": "yesterday"}, "yesterday"),
        ({"settings": {"steps": [50, 10]}}, "greater than the one before"),
        ({"settings": {"stepz": [10]}}, "stepz"),
        ({"format": 2}, "this format"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_state_is_one_paragraph(change: dict[str, object], received: str) -> None:
    with pytest.raises(DataError) as raised:
        CanaryState.from_json({**staged().to_json(), **change}, "endpoint.json")
    assert "endpoint.json: the state of the canary is damaged" in raised.value.paragraph
    assert received in raised.value.paragraph


def test_a_state_that_is_not_an_object_or_misses_a_part_is_damaged() -> None:
    content = staged().to_json()
    del content["who"]
    for damaged in (None, [], content):
        with pytest.raises(DataError):
            CanaryState.from_json(damaged, "endpoint.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ()},
        {"steps": (0, 10)},
        {"steps": (10, 100)},
        {"steps": (10, 10)},
        {"minimum_requests": 0},
        {"minimum_step_s": -1.0},
        {"deadline_s": 0.0},
        {"at_deadline": "promote"},
        {"false_rollback": 0.0},
        {"false_rollback": 0.6},
        {"maximum_error_rate": 1.5},
        {"latency_tolerance": 0.9},
        {"latency_slack": 1.0},
        {"minimum_replayed": -1},
        {"maximum_differing": 0.0},
        {"minimum_labelled": 1.5},
        {"loss_tolerance": 1.0},
    ],
)
def test_settings_check_themselves(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as raised:
        CanarySettings(**wrong)  # type: ignore[arg-type]
    assert "Expected" in raised.value.paragraph


def test_settings_that_json_leaves_out_have_their_defaults() -> None:
    assert CanarySettings.from_json({"steps": [5]}) == CanarySettings(steps=(5,))


def test_settings_pass_an_engine_of_pipelines() -> None:
    """It refuses a null in an object, and makes floats of whole numbers."""
    settings = CanarySettings(steps=(5, 25), minimum_requests=10)
    plain = settings.to_json()
    assert None not in plain.values()
    floats = {name: float(value) if isinstance(value, int) else value for name, value in plain.items()}
    assert settings_of({**floats, "steps": [5.0, 25.0]}) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum_requests": 2000.5},
        {"minimum_requests": "many"},
        {"minimum_labelled": None},
        {"steps": [10.5]},
        {"steps": 10},
        {"steps": "10"},
        {"step": [10]},
    ],
)
def test_settings_of_a_task_are_refused_and_not_rounded(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        settings_of(wrong)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="time zone"):
        stage("v1", "v2", CanarySettings(), "ann", "", datetime(2026, 1, 2))
    with pytest.raises(UsageError, match="time zone"):
        replace(staged(), deadline=datetime(2026, 1, 2))
    assert stage("v1", "v2", CanarySettings(), "ann", "", datetime(2026, 1, 2, tzinfo=UTC), epoch=7).epoch == 7
