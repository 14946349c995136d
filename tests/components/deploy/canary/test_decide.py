"""Canary decision: every rule, with its reasons in words."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from support.canaries import START, canary, latencies, staged, step, traffic

from headrace.components.deploy.canary.decide import decide, findings
from headrace.components.deploy.canary.evidence import CanaryStep, Differences, Evidence, Replay, VersionTraffic
from headrace.components.deploy.canary.settings import CanarySettings

SOON = START + timedelta(minutes=2)
LATE = START + timedelta(hours=2)
ENOUGH = step(traffic(18_000, 90), traffic(2_000, 10))


def test_a_staged_canary_gets_its_first_step() -> None:
    decision = decide(staged(), Evidence(), SOON)
    assert (decision.action, decision.percent, decision.epoch) == ("widen", 10, 1)
    assert decision.reasons == ("The first step is 10 % of the traffic.",)


def test_a_healthy_canary_is_widened_and_then_promoted() -> None:
    decision = decide(canary(), ENOUGH, SOON)
    assert (decision.action, decision.percent) == ("widen", 50)
    assert decision.reasons == (
        "10 % of the traffic gave no evidence against the canary.",
        "Errors: 0.5 % of 2,000 requests of the canary, 0.5 % of 18,000 of the stable version.",
    )
    more = Evidence((*ENOUGH.steps, CanaryStep(3, 50, traffic(2_000, 10), traffic(2_000, 10))))
    state = canary().after(decision, "decide", SOON)
    assert decide(state, more, SOON + timedelta(seconds=59)).action == "stay"
    decision = decide(state, more, SOON + timedelta(seconds=60))
    assert (decision.action, decision.percent) == ("promote", 100)


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (Evidence(), "The canary has had 0 of 2,000 requests at 10 % of the traffic."),
        (step(traffic(9_000), traffic(1_999)), "The canary has had 1,999 of 2,000 requests at 10 % of the traffic."),
        (step(traffic(0), traffic(2_000)), "The stable version has had 0 of 2,000 requests at 10 % of the traffic."),
        # Requests of an earlier step do not count for this one.
        (
            step(traffic(9_000), traffic(2_000), epoch=1),
            "The canary has had 0 of 2,000 requests at 10 % of the traffic.",
        ),
        # Both fail alike: no evidence against the canary, and none for it.
        (step(traffic(18_000, 1_800), traffic(2_000, 200)), "10 % of the canary's requests fail, at most 5 % may."),
    ],
)
def test_without_the_minimum_it_stays_and_is_rolled_back_at_the_deadline(evidence: Evidence, reason: str) -> None:
    decision = decide(canary(), evidence, SOON)
    assert (decision.action, decision.percent) == ("stay", 10)
    assert reason in decision.reasons
    decision = decide(canary(), evidence, LATE)
    assert (decision.action, decision.percent, decision.worse) == ("roll back", 0, False)
    assert decision.reasons[0] == "The deadline is over without enough evidence to promote."
    assert reason in decision.reasons


def test_no_data_at_the_deadline_is_a_rollback_unless_a_person_is_to_decide() -> None:
    assert decide(staged(), Evidence(), LATE).action == "roll back"
    state = canary(settings=CanarySettings(at_deadline="stay"))
    decision = decide(state, Evidence(), LATE)
    assert (decision.action, decision.percent) == ("stay", 10)
    assert "a person is to promote or roll back" in decision.reasons[0]


def test_the_deadline_before_the_last_step_is_a_rollback() -> None:
    decision = decide(canary(), ENOUGH, LATE)
    assert decision.action == "roll back"
    assert "It has not had 50 % of the traffic." in decision.reasons


def test_more_errors_roll_back_before_the_minimum() -> None:
    decision = decide(canary(), step(traffic(900, 5), traffic(100, 20)), START)
    assert (decision.action, decision.percent, decision.worse) == ("roll back", 0, True)
    assert decision.reasons[0].startswith("The canary is worse: errors; evidence of ")
    assert decision.reasons[1] == "Errors: 20 % of 100 requests of the canary, 0.556 % of 900 of the stable version."


def test_a_canary_that_refuses_what_the_stable_version_answers_is_rolled_back() -> None:
    # As one that requires a new column: without a single error.
    refused = VersionTraffic(20, refused=20)
    decision = decide(canary(), step(VersionTraffic(180, refused=9), refused), START)
    assert decision.action == "roll back"
    assert (
        decision.reasons[1] == "Refused requests: 100 % of 20 requests of the canary, 5 % of 180 of the stable version."
    )
    alike = step(VersionTraffic(18_000, refused=9_000), VersionTraffic(2_000, refused=1_000))
    assert decide(canary(), alike, SOON).action == "widen"


def test_a_canary_whose_requests_all_fail_ends_within_ten() -> None:
    assert decide(canary(), step(traffic(90), traffic(10, 10)), START).action == "roll back"


def test_an_outage_of_both_versions_while_the_canary_is_widened_is_no_evidence() -> None:
    # Of all its requests, the canary fails 4.6 % and the stable version 1.1 %: both fail alike at each step.
    quiet = CanaryStep(2, 10, traffic(18_000, 90), traffic(2_000, 10))
    outage = CanaryStep(3, 50, traffic(1_000, 100), traffic(1_000, 100))
    state = canary(50, CanarySettings(maximum_error_rate=1.0))
    assert decide(state, Evidence((quiet, outage)), SOON).action != "roll back"


def test_slower_requests_roll_back_and_a_tolerated_factor_does_not() -> None:
    random = np.random.default_rng(1)
    stable = traffic(9_000, 0, latencies(random, 9_000, 0.005))
    slower = step(stable, traffic(1_000, 0, latencies(random, 1_000, 0.010)))
    decision = decide(canary(), slower, SOON)
    assert decision.action == "roll back"
    assert decision.reasons[0].startswith("The canary is worse: latency;")
    assert decision.reasons[1].startswith("Latency: ")
    assert "requests last more than" in decision.reasons[1]
    tolerated = step(stable, traffic(1_000, 0, latencies(random, 1_000, 0.006)))
    assert decide(canary(), tolerated, SOON).action == "stay"
    assert decide(canary(settings=CanarySettings(latency_tolerance=2.6)), slower, SOON).action == "stay"


def test_a_pause_of_the_process_within_the_slack_is_no_evidence() -> None:
    random = np.random.default_rng(1)
    stable = traffic(18_000, 0, latencies(random, 18_000, 0.005))
    paused = np.array(latencies(random, 1_970, 0.005)) + np.array(latencies(random, 30, 1.0))
    assert decide(canary(), step(stable, traffic(2_000, 0, tuple(paused.tolist()))), SOON).action == "widen"


def test_rows_that_fail_with_the_canary_alone_roll_back() -> None:
    evidence = Evidence(replay=Replay(rows=1_000, stable_only=25))
    decision = decide(canary(), evidence, SOON)
    assert decision.action == "roll back"
    assert "Replay: of 1,000 rows, 25 fail with the canary alone, 0 without it alone." in decision.reasons
    alike = Evidence(replay=Replay(rows=1_000, stable_only=25, canary_only=25))
    assert decide(canary(), alike, SOON).action == "stay"


def test_predictions_that_differ_roll_back_only_where_they_are_limited() -> None:
    evidence = Evidence(replay=Replay(rows=1_000, differing=100))
    assert decide(canary(), evidence, SOON).action == "stay"
    decision = decide(canary(settings=CanarySettings(maximum_differing=0.05)), evidence, SOON)
    assert decision.action == "roll back"
    differ = "Replay: 10 % of the rows differ, always-valid 99 % interval 6.61 to 14.1 %, 5 % may."
    assert differ in decision.reasons


def test_greater_losses_roll_back_and_smaller_ones_do_not() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(0.0, 0.1, 2_000)
    worse = decide(canary(), Evidence(losses=Differences.of((noise + 0.03).tolist())), SOON)
    assert worse.action == "roll back"
    assert worse.reasons[0].startswith("The canary is worse: losses;")
    better = Evidence(losses=Differences.of((noise - 0.03).tolist()))
    assert decide(canary(), better, SOON).action == "stay"
    exact = Evidence(losses=Differences.of([0.5] * 100))
    assert findings(exact, CanarySettings())[0].text == (
        "Labels: mean loss difference +0.5 on 100 rows, always-valid 99 % interval +0.385 to +0.538"
        " (positive: the canary is worse)."
    )
    assert "Labels: mean loss difference -0.0" in " ".join(each.text for each in findings(better, CanarySettings()))


def test_replayed_and_labelled_rows_can_be_required_before_promotion() -> None:
    settings = CanarySettings(steps=(50,), minimum_replayed=100, minimum_labelled=50)
    traffics = step(traffic(2_000), traffic(2_000), percent=50)
    decision = decide(canary(50, settings), traffics, SOON)
    assert decision.action == "stay"
    assert decision.reasons == ("0 of 100 logged rows are replayed.", "0 of 50 rows have labels.")
    complete = Evidence(traffics.steps, Replay(rows=100), Differences.of([0.0] * 50))
    assert decide(canary(50, settings), complete, SOON).action == "promote"


def test_a_terminal_state_stays_whatever_the_evidence() -> None:
    state = canary().after(canary().promotion("good"), "ann", START)
    decision = decide(state, step(traffic(900), traffic(100, 100)), LATE)
    assert (decision.action, decision.percent) == ("stay", 100)
    assert decision.reasons == ("The canary is promoted.",)


def test_a_decision_is_written_as_json() -> None:
    assert canary().rollback("bad").to_json() == {
        "action": "roll back",
        "epoch": 2,
        "percent": 0,
        "reasons": ["bad"],
        "worse": False,
    }
