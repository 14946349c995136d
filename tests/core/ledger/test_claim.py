"""Claims: what holds a run, and what does not any more."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.ledgers import arrival, claimed, started

from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger import claim as claims
from headrace.core.ledger.claim import Claim, check, may_begin
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import Overtaken
from headrace.core.storage import clocks
from headrace.core.storage.clocks import store_clock

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def test_a_claim_holds_until_the_run_ends(tmp_path: Path) -> None:
    claim = claimed(str(tmp_path), [arrival(0)])
    assert claim.check().id == claim.run_id
    Ledger(str(tmp_path)).end(claim.run_id, claim.epoch, "kept")
    with pytest.raises(Overtaken, match="overtaken"):
        check(claim)


def test_a_failed_run_holds_no_more(tmp_path: Path) -> None:
    claim = claimed(str(tmp_path), [arrival(0)])
    Ledger(str(tmp_path)).change(lambda state: state.failed(claim.run_id, "killed", NOW, Retries()))
    with pytest.raises(Overtaken):
        claim.check()
    started(str(tmp_path), [arrival(0)])
    with pytest.raises(Overtaken):
        claim.check()


def test_another_execution_of_the_run_has_no_claim(tmp_path: Path) -> None:
    claim = claimed(str(tmp_path), [arrival(0)])
    with pytest.raises(Overtaken):
        Claim(claim.ledger, claim.run_id, "a copy", claim.epoch).check()


def test_a_task_begins_only_where_it_can_end_before_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(str(tmp_path), [arrival(0)])
    assert may_begin(None, "train", 1e9) == may_begin(claim, "train", 1e9) == math.inf
    monkeypatch.setattr(claims, "store_clock", lambda _: 1000.0)
    bounded = replace(claim, until=4600.0)
    assert may_begin(bounded, "train") == may_begin(bounded, "train", 3600.0) == 3600.0
    with pytest.raises(PlatformError, match="the run's deadline leaves too little time") as refused:
        may_begin(bounded, "train", 3601.0)
    assert (refused.value.where, refused.value.expected, refused.value.received) == (
        "train",
        "3,601 s or more",
        "3,600 s",
    )
    for until in (1000.0, 999.0):
        with pytest.raises(PlatformError, match="the run's deadline is over"):
            may_begin(replace(claim, until=until), "register")
    # One that was overtaken hears that first: it did not fail.
    Ledger(str(tmp_path)).end(claim.run_id, claim.epoch, "kept")
    for late in (claim, replace(claim, until=1.0)):
        with pytest.raises(Overtaken):
            may_begin(late, "register")


@pytest.mark.parametrize("place", ["disk", "gs", "s3"])
def test_the_deadline_does_not_compare_the_clocks_of_two_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, place: str
) -> None:
    ledger = str(tmp_path)
    if place != "disk":
        ledger = f"{place}://{request.getfixturevalue('bucket' if place == 'gs' else 's3_bucket')}/ledger"
    claim = claimed(ledger, [arrival(0)])
    seconds = [100.0]
    monkeypatch.setattr(clocks, "monotonic", lambda: seconds[0])
    before = store_clock(ledger)
    bounded = claim.bounded(3600.0)
    assert before + 3600.0 <= bounded.until <= store_clock(ledger) + 3600.0
    assert claim.left_s() == math.inf
    # On the machine that set it, the monotonic clock counts.
    seconds[0] = 1100.0
    monkeypatch.setattr(claims, "store_clock", lambda _: 1e12)
    assert bounded.left_s() == may_begin(bounded, "train", 2600.0) == 2600.0
    # On another one, and after a restart, that of the store does.
    monkeypatch.setattr(claims, "store_clock", lambda _: bounded.until - 60.0)
    elsewhere = replace(bounded, machine="another")
    assert elsewhere.left_s() == 60.0
    with pytest.raises(PlatformError, match="the run's deadline leaves too little time"):
        may_begin(elsewhere, "train", 61.0)


def test_json(tmp_path: Path) -> None:
    claim = claimed(str(tmp_path), [arrival(0)])
    assert Claim.from_json(json.loads(json.dumps(claim.to_json()))) == claim
    # As an engine passes it.
    assert Claim.from_json({**claim.to_json(), "epoch": 1.0}) == claim
    bounded = claim.bounded(60.0)
    assert Claim.from_json(json.loads(json.dumps(bounded.to_json()))) == bounded
    assert Claim.from_json({}) is None
    check(None)
    for wrong in ({"ledger": "a"}, {**claim.to_json(), "more": 1}, {**claim.to_json(), "epoch": "x"}):
        with pytest.raises(UsageError, match="the claim is not valid"):
            Claim.from_json(wrong)
