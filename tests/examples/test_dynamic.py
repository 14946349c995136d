"""examples/dynamic: its bad days, its slow model, and its page. The two weeks themselves are `make run-dynamic`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from support.html_page import Page

from headrace.core.problem.file import load_problem

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The example's modules, which import each other by their short names."""
    places = {"shared": ".", "fetch": "flight_time", "traffic": "serving", "page": "dynamic", "run": "dynamic"}
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
    run = modules["run"]
    day = pa.table({"flight": range(100), "air_time": [100] * 100, "distance": [1000] * 100})
    assert run.without_distance(day).column_names == ["flight", "air_time", "dist"]
    assert run.with_bad_rows(day)["air_time"].to_pylist().count(-1) == 4
    assert run.in_kilometres(day)["distance"].to_pylist() == [1609] * 100
    assert day["distance"].to_pylist() == [1000] * 100
    assert {trouble.expected for trouble in run.TROUBLES.values()} == {"", "kept", "quarantined"}


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
