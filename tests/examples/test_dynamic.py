"""examples/dynamic: its bad days, its slow model, and its page. The two weeks themselves are `make run-dynamic`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from support.html_page import Page

from headrace.core.ledger.state import LedgerState, RunEnding, VersionOutcome
from headrace.core.problem.file import load_problem

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The example's modules, which import each other by their short names."""
    places = {"shared": ".", "fetch": "flight_time", "traffic": "serving", "page": "dynamic"}
    places |= {"troubles": "dynamic", "run": "dynamic"}
    found: dict[str, ModuleType] = {}
    path = list(sys.path)
    for name, folder in places.items():
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = found[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    sys.path[:] = path
    for name in found:
        del sys.modules[name]


def test_bad_days(modules: dict[str, ModuleType]) -> None:
    run = modules["troubles"]
    day = pa.table({"flight": range(100), "air_time": [100] * 100, "distance": [1000] * 100})
    assert run.without_distance(day).column_names == ["flight", "air_time", "dist"]
    assert run.with_bad_rows(day)["air_time"].to_pylist().count(-1) == 4
    assert run.in_kilometres(day)["distance"].to_pylist() == [1609] * 100
    assert day["distance"].to_pylist() == [1000] * 100
    assert {day: (each.expected, each.deployed) for day, each in run.TROUBLES.items()} == {
        6: (("quarantined",), ""),
        7: (("promoted", "kept"), None),
        8: (("promoted", "kept"), None),
        9: (("kept",), ""),
        11: (("kept",), "rolled back"),
    }


@pytest.mark.parametrize(
    ("day", "ended", "bad_rows", "faults"),
    [
        (4, (("promoted",), "promoted", False, 0), 0, []),
        (4, (("kept",), "withdrawn", False, 0), 0, []),
        (4, (("quarantined",), "", False, 0), 0, ["expected promoted or kept, received quarantined"]),
        (4, ((), "", False, 0), 0, ["expected promoted or kept, received nothing"]),
        (4, (("kept",), "rolled back", False, 0), 0, ["the version is not marked as bad"]),
        (6, (("quarantined",), "", False, 0), 0, []),
        (6, (("kept",), "", False, 0), 0, ["expected quarantined, received kept"]),
        (7, (("kept",), "", False, 28), 28, []),
        (7, (("promoted",), "promoted", False, 27), 28, ["expected 28 rows in quarantine, received 27"]),
        (9, (("kept",), "", False, 0), 0, []),
        # A canary that is rolled back is kept, too; here the challenger must not get that far.
        (9, (("kept",), "rolled back", True, 0), 0, ["expected no deployment, received rolled back"]),
        (11, (("kept",), "rolled back", True, 0), 0, []),
        # So is a refusal by evaluation, without any canary.
        (11, (("kept",), "", False, 0), 0, ["expected rolled back, received no deployment"]),
        (11, (("kept",), "withdrawn", True, 0), 0, [
            "expected rolled back, received withdrawn", "the version is marked as bad",
        ]),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be(
    modules: dict[str, ModuleType], day: int, ended: tuple[Any, ...], bad_rows: int, faults: list[str]
) -> None:
    run = modules["troubles"]
    assert run.Ended(*ended).faults(run.TROUBLES.get(day, run.Trouble()), bad_rows) == faults


def test_what_became_of_a_day(modules: dict[str, ModuleType]) -> None:
    ended = modules["troubles"].Ended.of
    state = LedgerState(done={"a": VersionOutcome("kept", 1, "v1"), "b": VersionOutcome("quarantined", 1)}, bad=("v1",))
    run = RunEnding(1, ("a", "b"), "kept", "v1", "rolled back: slow")
    steps = [("ingest", {"rows_quarantined": 28}), ("evaluate", {}), ("deploy", {"outcome": "rolled back"})]
    summary = {"steps": [{"step": name, "result": result} for name, result in steps]}
    assert ended([run], state, [summary]) == modules["troubles"].Ended(("kept", "quarantined"), "rolled back", True, 28)
    refused = {"steps": [{"step": "ingest", "result": {}}, {"step": "deploy", "result": {}}]}
    assert ended([], LedgerState(), [refused]) == modules["troubles"].Ended((), "", False, 0)


def test_the_slow_model_is_of_the_same_problem() -> None:
    plain, slow = (load_problem(str(EXAMPLES / "dynamic" / f"{name}.py")) for name in ("flights", "slower"))
    assert plain.digests["schema_digest"] == slow.digests["schema_digest"], "its spans are not read again"
    assert plain.digests["training_digest"] != slow.digests["training_digest"]


def test_the_page_has_errors_requests_runs_and_what_happened(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    page, outcome = modules["page"], modules["traffic"].Outcome
    outcomes = [outcome(100.0 + n, 200, "a" * 16 if n < 15 else "b" * 16, 0.01) for n in range(20)]
    played = page.Played(
        days=[1, 2, 3],
        began={1: 90.0, 2: 105.0, 3: 115.0},
        outcomes=[*outcomes, outcome(121.0, 0, "", 1.0)],
        champions={2: "a" * 16, 3: "b" * 16},
        metrics={"static": {2: 17.25, 3: 19.0}, "dynamic": {2: 17.25, 3: 9.5}},
        runs=[
            page.Run(1, 30.0, 12.0, "succeeded", "promoted", "a" * 16),
            page.Run(2, 40.0, 20.0, "succeeded", "kept", "b" * 16),
        ],
        statuses={"a" * 16: "registered", "b" * 16: "bad"},
    )
    happened = [page.Happening(2, 110.0, "alarm: <drift> & more", "alarm"), page.Happening(3, 120.0, "run 2", "kept")]
    written = page.write_page(tmp_path / "page.html", played, happened).read_text()
    text = Page(written).text
    assert "21 requests, 1 failed , p50 10.0 ms, p99 1000.0 ms. 2 runs, 1 promotions." in text
    assert "Latency by day in milliseconds" in text
    assert "alarm: <drift> & more" in text
    assert all(figure in text for figure in ("18.1", "19.0", "13.4", "17.2", "32"))
    assert written.count("<svg") == 3
