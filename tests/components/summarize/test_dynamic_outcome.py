"""What became of the data of a run, from the records of its steps."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.components.summarize.dynamic.outcome import Conclusion, conclusion_of
from headrace.components.summarize.dynamic.step import STEPS
from headrace.core.errors import DataError, PlatformError
from headrace.core.ledger.state import Overtaken

RESULTS: dict[str, dict[str, Any]] = {
    "claim": {"claim": {"epoch": 1}},
    "ingest": {"trainable": True, "others": {"b": "quarantined"}, "quarantined": []},
    "lineage": {},
    "train": {"model_version": "v1"},
    "evaluate": {"blessed": True, "checks": [], "reasons": []},
    "register": {},
    "deploy": {"outcome": "promoted", "reasons": ["Enough evidence."]},
    "announce": {},
}


def steps(*, until: str = "announce", status: str = "succeeded", **results: dict[str, Any]) -> list[dict[str, Any]]:
    """Records of the steps up to one, which has a status."""
    found = []
    reached = STEPS.index(until)
    for number, name in enumerate(STEPS):
        own = "skipped" if number > reached else status if number == reached else "succeeded"
        result = {**RESULTS[name], **results.get(name, {})} if number <= reached else {}
        found.append({"step": name, "status": own, "result": result, "error": None})
    return found


def test_promoted() -> None:
    assert conclusion_of(steps(), engine_succeeded=True) == Conclusion(
        "succeeded", "promoted", "v1", "Enough evidence.", {"b": "quarantined"}
    )
    # A service deploys without a canary, and says no outcome.
    without = steps(deploy={"outcome": "live", "reasons": []})
    assert conclusion_of(without, engine_succeeded=True).outcome == "promoted"


@pytest.mark.parametrize(("outcome", "bad"), [("rolled back", True), ("withdrawn", False)])
def test_a_canary_that_did_not_hold(outcome: str, bad: bool) -> None:
    found = conclusion_of(steps(deploy={"outcome": outcome, "reasons": ["Slow."]}), engine_succeeded=True)
    assert (found.status, found.outcome, found.model, found.bad) == ("succeeded", "kept", "v1", bad)
    assert found.why == f"{outcome}: Slow."


def test_a_canary_that_ticks_watch() -> None:
    found = conclusion_of(steps(deploy={"outcome": "under way", "reasons": ["Few requests."]}), engine_succeeded=True)
    assert found == Conclusion("succeeded", None, "v1", "Few requests.", {"b": "quarantined"}, watched=True)


def test_the_champion_stays() -> None:
    checks = [{"passed": True}, {"passed": False}, {"passed": None}]
    evaluate = {"blessed": False, "checks": checks, "reasons": ["Fine.", "Worse.", "Few rows."]}
    found = conclusion_of(steps(until="evaluate", evaluate=evaluate), engine_succeeded=True)
    assert found == Conclusion("succeeded", "kept", "v1", "Worse.", {"b": "quarantined"})


@pytest.mark.parametrize(
    ("others", "outcome"),
    [({"a": "quarantined"}, "quarantined"), ({"a": "withdrawn"}, "withdrawn"), ({}, "kept")],
)
def test_nothing_to_train_with(others: dict[str, str], outcome: str) -> None:
    ingest = {"trainable": False, "others": others, "quarantined": [{"span": "day", "why": "Broken."}]}
    found = conclusion_of(steps(until="ingest", ingest=ingest), engine_succeeded=True)
    assert (found.status, found.outcome, found.others, found.why) == ("succeeded", outcome, others, "span day: Broken.")


def test_overtaken() -> None:
    found = conclusion_of(steps(until="claim", claim={"overtaken": "by another"}), engine_succeeded=True)
    assert found == Conclusion("overtaken", why="by another")
    later = steps(until="register", status="failed")
    later[STEPS.index("register")]["error"] = Overtaken("this run was overtaken").to_json()
    assert conclusion_of(later, engine_succeeded=False).status == "overtaken"


def test_a_step_that_failed() -> None:
    failed = steps(until="train", status="failed")
    failed[STEPS.index("train")]["error"] = DataError("no rows").to_json()
    found = conclusion_of(failed, engine_succeeded=False)
    assert (found.status, found.outcome, found.why) == ("failed", None, "train: no rows")


@pytest.mark.parametrize("until", STEPS[:-1])
def test_a_step_that_was_killed(until: str) -> None:
    found = conclusion_of(steps(until=until), engine_succeeded=False)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error["exit_status"] == PlatformError.exit_status
    # Not even an engine that is content makes a run whole whose steps are missing.
    if until != "ingest":
        assert conclusion_of(steps(until=until), engine_succeeded=True).status == "failed"


def test_a_run_that_never_began() -> None:
    blank = [{"step": name, "status": "skipped", "result": {}, "error": None} for name in STEPS]
    assert conclusion_of(blank, engine_succeeded=False).why.startswith("claim exited without an error message")
