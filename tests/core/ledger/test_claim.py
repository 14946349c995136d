"""Claims: what holds a run, and what does not any more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.ledgers import arrival, claimed, started

from headrace.core.errors import UsageError
from headrace.core.ledger.claim import Claim, check
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import Overtaken

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


def test_json(tmp_path: Path) -> None:
    claim = claimed(str(tmp_path), [arrival(0)])
    assert Claim.from_json(json.loads(json.dumps(claim.to_json()))) == claim
    # As an engine passes it.
    assert Claim.from_json({**claim.to_json(), "epoch": 1.0}) == claim
    assert Claim.from_json({}) is None
    check(None)
    for wrong in ({"ledger": "a"}, {**claim.to_json(), "more": 1}, {**claim.to_json(), "epoch": "x"}):
        with pytest.raises(UsageError, match="the claim is not valid"):
            Claim.from_json(wrong)
