"""Ingest as a step of a pipeline: parameters in, Examples, outcomes and a record out; and the component of KFP."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.day_spans import Days, day, rows_of

from headrace.components import ingest as component
from headrace.components.ingest import step
from headrace.core.errors import DataError
from headrace.core.ledger.inbox import Inbox
from headrace.core.ledger.ledger import Ledger
from headrace.core.steps.repeated import ATTEMPT
from headrace.core.storage import read_json


def run(days: Days, arrivals: list[Any], **options: Any) -> tuple[bool, Any, dict[str, str], dict[str, Any]]:
    """What the step returned, its artifact, the outcomes, and its record's result."""
    folder = days.folder / "task"
    folder.mkdir(exist_ok=True)
    examples = SimpleNamespace(uri="", path=days.output, metadata={})
    places = str(folder / "others"), str(folder / "gcp_resources")
    plain = [dataclasses.asdict(arrival) for arrival in arrivals]
    done = step.run(days.file.path, "", plain, days.root, examples, *places, **options)
    (record,) = Path(days.root, "records").glob("ingest-*.json")
    result = read_json(str(record))
    record.unlink()
    return done, examples, json.loads(Path(places[0]).read_text()), result


def test_arrivals_of_a_ledger_become_examples_and_outcomes(tmp_path: Path) -> None:
    days = Days(tmp_path)
    ledger = Ledger(str(tmp_path / "ledger"))
    good = days.arrival(day(0), rows_of(day(0)), 0)
    bad = days.arrival(day(1), rows_of(day(1)), 1, "id,speed,c,y")
    for arrival in (good, bad):
        ledger.arrive(arrival)
    under_way = ledger.change(lambda state: state.started([good.version, bad.version], "run-1", state.next_fence)).run
    assert under_way is not None
    arrivals = Inbox(str(tmp_path / "ledger" / "inbox")).read(under_way.versions)
    done, examples, others, record = run(days, arrivals, last_days=7)
    assert (done, others) == (True, {bad.version: "quarantined"})
    assert examples.metadata == {
        "identity": record["result"]["identity"],
        "rows_in": 40,
        "rows_out": 40,
        "rows_quarantined": 0,
    }
    assert (record["status"], record["outputs"]) == ("succeeded", {"examples": days.output})
    assert [each["span"] for each in record["result"]["quarantined"]] == [day(1)]
    # The ledger accepts the outcomes as they are.
    state = ledger.end("run-1", 1, "promoted", model="m1", others=others)  # type: ignore[arg-type]
    assert {version: found.outcome for version, found in state.done.items()} == {
        good.version: "promoted",
        bad.version: "quarantined",
    }


def test_a_run_without_anything_new_ends_well(tmp_path: Path) -> None:
    days = Days(tmp_path)
    bad = days.arrival(day(0), rows_of(day(0)), 0, "id,speed,c,y")
    done, examples, others, record = run(days, [bad])
    assert (done, examples.metadata, record["outputs"]) == (False, {}, {})
    assert others == {bad.version: "quarantined"}
    assert not Path(days.output).exists()


def test_an_arrival_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    days = Days(tmp_path)
    examples = SimpleNamespace(uri="", path=days.output, metadata={})
    with pytest.raises(SystemExit) as ended:
        step.run(days.file.path, "", [{"span": "1"}], days.root, examples, "", "")
    assert ended.value.code == 2
    assert "an arrival is not valid" in capfd.readouterr().out


def test_a_retry_after_a_mistake_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.components.ingest import ingest

    begun: list[str] = []

    def fails(*_: object, **__: object) -> None:
        begun.append("ingest")
        raise DataError("the quarantine budget is spent")

    monkeypatch.setattr(ingest, "ingest", fails)
    days = Days(tmp_path)
    one = "1b2a7cd5-3bde-4a07-8a2d-0d8c1f1c9c41"
    examples = SimpleNamespace(uri="", path=str(tmp_path / one / "ingest" / one / "examples"), metadata={})
    arrivals = [dataclasses.asdict(days.arrival(day(0), rows_of(day(0)), 0))]
    for number in ("0", "1", "2"):
        monkeypatch.setenv(ATTEMPT, number)
        with pytest.raises(SystemExit) as ended:
            step.run(days.file.path, "", arrivals, days.root, examples, "", str(tmp_path / "gcp_resources"))
        assert ended.value.code == 2
    assert begun == ["ingest"]


def test_the_component_has_the_interface_of_its_step() -> None:
    inputs = component.component_spec.inputs
    outputs = component.component_spec.outputs
    assert inputs is not None
    assert outputs is not None
    assert {name for name, each in inputs.items() if not each.optional} == {"problem", "arrivals", "root"}
    assert (inputs["arrivals"].type, inputs["withdrawn"].default) == ("List", [])
    assert {name: each.type.partition("@")[0] for name, each in outputs.items()} == {
        "examples": "system.Dataset",
        "others": "Dict",
        "gcp_resources": "String",
        "Output": "Boolean",
    }
