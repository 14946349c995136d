"""Claims of runs: who continues, what is pinned for an epoch, and deadlines."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.ledgers import arrival, claimed, started
from support.registered_models import make_model

from headrace.components.claim import step
from headrace.components.claim.claim import Base, claim_run
from headrace.components.claim.deadline import LAST, check_deadline
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.ingest.catalog import Catalog, SpanVersion
from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.inbox import FROM_SCRATCH
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import Overtaken
from headrace.core.steps.identity import claim_identity
from headrace.core.steps.step import read_record
from headrace.core.steps.workspace import spans_uri, summary_uri
from headrace.core.storage import clocks

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "registry"))


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


def promoted(registry: Registry, folder: Path, version: str) -> None:
    registry.register(make_model(folder / version, version))
    registry.promote(version)


def fail(ledger: str) -> None:
    run = Ledger(ledger).state().run
    assert run is not None
    Ledger(ledger).change(lambda state: state.failed(run.id, "killed", NOW, Retries(first=timedelta(seconds=1))))


def test_the_first_execution_continues_and_a_copy_does_not(ledger: str, registry: Registry) -> None:
    run = started(ledger, [arrival(0), arrival(9, span="", reason="schedule")])
    found = claim_run(ledger, run.id, "first", registry.folder)
    assert [one.span for one in found.arrivals] == ["2026-01-01"]
    assert (found.base, found.model) == (Base("", 0), "")
    assert claim_run(ledger, run.id, "first", registry.folder) == found
    with pytest.raises(Overtaken, match="another execution of this run was first"):
        claim_run(ledger, run.id, "copy", registry.folder)
    with pytest.raises(Overtaken, match="this run was overtaken"):
        claim_run(ledger, "older", "first", registry.folder)


def test_every_attempt_at_an_epoch_compares_with_the_same_champion(
    ledger: str, registry: Registry, tmp_path: Path
) -> None:
    promoted(registry, tmp_path, "v1")
    run = started(ledger, [arrival(0)])
    first = claim_run(ledger, run.id, "first", registry.folder)
    assert (first.base, first.model) == (Base("v1", 2), registry.path("v1"))
    # The first attempt was killed after it promoted its version.
    promoted(registry, tmp_path, "v2")
    fail(ledger)
    run = started(ledger, [arrival(0)])
    assert claim_run(ledger, run.id, "second", registry.folder).base == Base("v1", 2)
    Ledger(ledger).end(run.id, 1, "promoted", model="v2")
    run = started(ledger, [arrival(1)])
    assert claim_run(ledger, run.id, "third", registry.folder).base == Base("v2", 4)


@pytest.mark.parametrize("by", ["promotion", "rollback"])
def test_a_champion_of_somebody_else_counts(ledger: str, registry: Registry, tmp_path: Path, by: str) -> None:
    for version in ("v1", "v2"):
        promoted(registry, tmp_path, version)
    run = started(ledger, [arrival(0)])
    assert claim_run(ledger, run.id, "first", registry.folder).base == Base("v2", 4)
    fail(ledger)
    if by == "promotion":
        registry.promote("v1")
    else:
        registry.mark_bad("v2")
    run = started(ledger, [arrival(0)])
    assert claim_run(ledger, run.id, "second", registry.folder).base == Base("v1", 5)


def test_a_request_to_train_from_scratch(ledger: str, registry: Registry) -> None:
    run = started(ledger, [arrival(0), arrival(9, span="", reason=FROM_SCRATCH)])
    assert claim_run(ledger, run.id, "first", registry.folder).base.from_scratch


def test_a_damaged_record_of_an_epoch(ledger: str, registry: Registry, tmp_path: Path) -> None:
    run = started(ledger, [arrival(0)])
    (tmp_path / "ledger" / "epochs").mkdir()
    (tmp_path / "ledger" / "epochs" / "1.json").write_text("{}")
    with pytest.raises(DataError, match="the epoch's record is damaged"):
        claim_run(ledger, run.id, "first", registry.folder)


def test_the_step_of_an_overtaken_run_ends_well(ledger: str, registry: Registry, tmp_path: Path) -> None:
    run = started(ledger, [arrival(0)])
    root = str(tmp_path / "root")

    def claim(holder: str) -> step.Result:
        withdrawn = ["2026-01-01", "2026-01-02", f"{5:016x}", "2026-01-09"]
        return step.run(ledger, run.id, holder, registry.folder, root, 0.0, 0.5, {}, "days", withdrawn)

    known = SpanVersion("2026-01-02", "b.csv", "b", "", f"{5:016x}", (), "s")
    Catalog(spans_uri(root, "days")).put([known])
    go, held, arrivals, champion, base, withdrawn, attempt = claim("first")
    # The others have not arrived yet.
    assert withdrawn == ["2026-01-01", "2026-01-02", f"{5:016x}"]
    assert (go, held["epoch"], [one["span"] for one in arrivals], champion) == (True, 1, ["2026-01-01"], "")
    assert (base, attempt) == ({"champion": "", "changes": 0, "from_scratch": False}, "epoch 1")
    assert claim("copy") == (False, {}, [], "", {}, [], "")
    record = read_record(root, "claim", claim_identity(ledger, run.id, "copy"))
    assert record is not None
    assert record["status"] == "succeeded"
    assert "another execution" in record["result"]["overtaken"]


def test_a_run_that_cannot_meet_its_deadline_does_not_begin(tmp_path: Path) -> None:
    ledger, root = str(tmp_path / "ledger"), str(tmp_path / "root")
    canary = CanarySettings(steps=(10, 50), minimum_step_s=600.0).to_json()

    def check(hours: float, canary: dict[str, object] | None = None) -> float | None:
        return check_deadline(ledger, root, hours=hours, training_share=0.5, canary=canary or {})

    assert check(1.0) is None
    storage.write_json(storage.join(ledger, LAST), {"run_id": "last"})
    assert check(1.0) is None
    steps = [("ingest", 300.0), ("train", 9000.0), ("evaluate", 200.0), ("deploy", 100.0)]
    summary = {"steps": [{"step": name, "seconds": seconds} for name, seconds in steps] + [{"step": "announce"}]}
    storage.write_json(summary_uri(root, "last"), summary)
    # Training is ended at its share; a canary watches 20 minutes.
    assert check(2.0) == 300 + 3600 + 200 + 100
    assert check(2.0, canary) == 300 + 3600 + 200 + 1200
    assert check(0.0) is None
    with pytest.raises(UsageError, match="the run cannot meet its deadline"):
        check(0.25)
    with pytest.raises(UsageError, match="canary 1,200 s"):
        check(0.9, canary)


@pytest.mark.parametrize(("hours", "left_s"), [(2.0, 7200.0), (0.0, math.inf)])
def test_a_claim_has_the_deadline_of_its_run(
    ledger: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: float, left_s: float
) -> None:
    monkeypatch.setattr(clocks, "monotonic", lambda: 1000.0)
    run = started(ledger, [arrival(0)])
    found = step.run(ledger, run.id, "holder", registry.folder, str(tmp_path / "root"), hours, 0.5, {})
    claim = Claim.from_json(found[1])
    assert claim is not None
    assert claim.left_s() == left_s


def test_the_epoch_is_not_pinned_by_an_overtaken_run(ledger: str, registry: Registry, tmp_path: Path) -> None:
    claim = claimed(ledger, [arrival(0)])
    Ledger(ledger).end(claim.run_id, 1, "kept")
    with pytest.raises(Overtaken):
        claim_run(ledger, claim.run_id, claim.holder, registry.folder)
    assert not (tmp_path / "ledger" / "epochs").exists()
    assert json.loads((tmp_path / "ledger" / "ledger.json").read_text())["epoch"] == 1
