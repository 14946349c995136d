"""Lineage as a step: a warm start, a training from scratch that somebody requested, and one that is not begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.day_spans import Days, day, rows_of
from support.ledgers import REFUSED, arrival, claimed
from support.registered_models import make_model

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.evaluate.contest.challenge import Challenge
from headrace.components.lineage import step
from headrace.components.lineage.lineage import Lineage
from headrace.components.registry.folder.registry import Registry
from headrace.core.artifacts.examples import Manifest
from headrace.core.ledger.claim import Claim
from headrace.core.steps.identity import lineage_identity
from headrace.core.steps.step import read_record

HOUR = 3600.0


class Stage:
    """A window of two days, and the version v1, which was trained on the first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.days = folder, Days(folder / "days")
        self.registry = Registry(str(folder / "registry"))
        self.claim = claimed(str(folder / "ledger"), [arrival(0)])
        self.add(0)
        self.run(from_scratch=False)
        model = make_model(folder / "v1", "v1", problem="days", data=self.manifest.identity)
        self.registry.register(model)
        self.registry.promote("v1")
        self.add(1)

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.days.output)

    def add(self, number: int) -> None:
        self.days.ingest(self.days.arrival(day(number), rows_of(day(number)), number))

    def run(self, *, from_scratch: bool, claim: Claim | None = None, **options: Any) -> Mapping[str, Any]:
        """Runs the step; returns the options of the training."""
        known = self.registry.state()
        champion = known.aliases.get("champion", "")
        return step.run(
            self.days.file.path,
            self.days.file.problem.schema_digest,
            SimpleNamespace(path=self.days.output),
            self.registry.folder,
            self.days.root,
            (claim or self.claim).to_json(),
            self.registry.path(champion) if champion else "",
            {"champion": champion, "changes": known.epoch, "from_scratch": from_scratch},
            {"epochs": 3, **options.get("training", {})},
            (),
            0,
            Challenge().to_json(),
            canary=options.get("canary"),
        )[0]

    def record(self, claim: Claim) -> Mapping[str, Any]:
        """The record of the step."""
        named = lineage_identity(claim.run_id, claim.holder, self.manifest.identity)
        found = read_record(self.days.root, "lineage", named)
        assert found is not None
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_training_from_scratch_on_request(stage: Stage) -> None:
    """Nothing but the request keeps it from the weights of v1."""
    assert stage.run(from_scratch=False) == {
        "epochs": 3,
        "warm_start": stage.registry.path("v1"),
        "warm_start_version": "v1",
    }
    assert stage.record(stage.claim)["result"]["start"]["why"] == "warm start from v1"
    assert stage.run(from_scratch=True) == {"epochs": 3}
    result = stage.record(stage.claim)["result"]
    assert result["start"] == {"version": "", "model": "", "why": "from scratch, as requested"}
    assert (result["spans"], result["newer_spans"]) == ([day(0), day(1)], 1)
    # What it makes descends from no version.
    stage.registry.register(make_model(stage.folder / "v2", "v2", problem="days", data=stage.manifest.identity))
    seen = Lineage(stage.claim.ledger, stage.registry).seen("v2")
    assert seen is not None
    assert (seen.chain, list(seen.spans)) == ((), [day(0), day(1)])


@pytest.mark.parametrize(
    ("hours", "needed"),
    [(2.9, "10,800 s or more"), (0.0, "a task that begins before it")],
    ids=["too little time", "none at all"],
)
def test_a_training_that_cannot_end_before_the_deadline_is_not_begun(stage: Stage, hours: float, needed: str) -> None:
    """Two hours of training, and one of a canary."""
    canary = CanarySettings(steps=(10, 50), minimum_step_s=HOUR / 2).to_json()
    training = {"max_hours": 2.0} if hours else {}
    late = stage.claim.bounded(hours * HOUR)
    with pytest.raises(SystemExit) as ended:
        stage.run(from_scratch=False, claim=late, training=training, canary=canary if hours else None)
    assert ended.value.code == 75
    error = stage.record(late)["error"]
    assert (error["where"], error["expected"]) == ("train", needed)
    in_time = stage.claim.bounded(4 * HOUR)
    assert stage.run(from_scratch=False, claim=in_time, training=training, canary=canary)["warm_start_version"] == "v1"


@pytest.mark.parametrize(("refused", "error"), REFUSED)
def test_a_run_that_may_not_begin_trains_nothing(
    stage: Stage, tmp_path: Path, refused: Callable[[str], Claim], error: str
) -> None:
    claim = refused(str(tmp_path / "other"))
    with pytest.raises(SystemExit):
        stage.run(from_scratch=False, claim=claim)
    assert stage.record(claim)["error"]["what"] == error
    assert not (tmp_path / "other" / "lineage").exists()
