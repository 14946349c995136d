"""The commands of dynamic training, with the real engine of this machine."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.pipeline_platforms import headrace
from support.day_spans import PROBLEM, day, problem_file, rows_of, write_rows
from support.ledgers import arrival, started

from headrace.components.deploy.local.operate import stop
from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.ledger.retries import Retries
from headrace.core.ledger.state import LedgerRun, Watch
from headrace.core.model_events.event import ModelEvent
from headrace.core.steps.workspace import run_uri
from headrace.pipelines.dynamic import local_runs
from headrace.pipelines.dynamic.settings import DynamicSettings, change, read

pytestmark = pytest.mark.timeout(900)
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def ok(*arguments: str) -> str:
    done = headrace(*arguments)
    assert done.status == 0, done.error or done.output
    return done.output


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[DynamicSettings]:
    problem = problem_file(tmp_path, PROBLEM.replace("quarantine_budget", "gate=None, quarantine_budget"))
    root, events = str(tmp_path / "root"), str(tmp_path / "events")
    options = ["--training", "epochs=1", "--announce", events, "--last-spans", "7"]
    assert "dynamic training of days, local" in ok(
        "dynamic", "init", "--problem", problem.path, "--root", root, *options
    )
    found = read(root)
    yield found
    if Path(found.endpoint).is_dir():
        stop(found.endpoint)


def outcomes(settings: DynamicSettings) -> list[str]:
    return [ending.outcome for ending in settings.ledger.state().history]


def test_a_model_is_trained_deployed_and_announced_and_a_bad_span_is_quarantined(
    settings: DynamicSettings, tmp_path: Path
) -> None:
    root = settings.root
    assert ok("run", "dynamic", "--root", root).startswith("idle: ")
    idle = json.loads(ok("run", "dynamic", "--root", root, "--json"))
    assert (idle["did"], idle["run"], idle["runs"]) == ("idle", None, [])
    data = write_rows(tmp_path / "0.csv", rows_of(day(0)))
    added = ok("dynamic", "add", root, "--span", day(0), "--data", data)
    assert ok("dynamic", "add", root, "--span", day(0), "--data", data) == added
    assert "waiting" in ok("dynamic", "status", root)
    shown = ok("run", "dynamic", "--root", root)
    assert "Outcome   promoted" in shown
    assert outcomes(settings) == ["promoted"]
    champion = Registry(settings.registry).aliases()["champion"]
    assert settings.ledger.state().history[0].model == champion
    endpoint = json.loads(Path(settings.endpoint, "endpoint.json").read_text())
    body = json.dumps({"instances": [{"id": "1", "x": 3.0, "c": "a"}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint['port']}/predict", body, _json())
    with urllib.request.urlopen(request, timeout=600) as answer:
        assert len(json.load(answer)["predictions"]) == 1
    (event,) = (tmp_path / "events").glob("*.json")
    announced = ModelEvent.decode(event.read_bytes(), str(event))
    assert (announced.version, announced.problem) == (champion, settings.digests["problem_digest"])

    # A process of its own, which outlives the tick.
    broken = write_rows(tmp_path / "1.csv", rows_of(day(1), scale=1_000_000))
    ok("dynamic", "add", root, "--span", day(1), "--data", broken)
    assert json.loads(ok("tick", root, "--json"))["did"] == "started"
    deadline = time.monotonic() + 600
    while outcomes(settings) == ["promoted"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert outcomes(settings) == ["promoted", "quarantined"]
    assert Registry(settings.registry).aliases()["champion"] == champion
    while ok("tick", root).startswith("running"):
        time.sleep(0.2)
    assert ok("tick", root) == "idle: every data version that arrived is done\n"
    status = json.loads(ok("dynamic", "status", root, "--json"))
    assert (status["waiting"], status["ledger"]["epoch"]) == ([], 2)


def _json() -> dict[str, str]:
    return {"Content-Type": "application/json"}


def test_withdrawals_requests_and_retries(settings: DynamicSettings, tmp_path: Path) -> None:
    root = settings.root
    error = headrace("dynamic", "withdraw", root, day(0))
    assert (error.status, "the span did not arrive" in error.error) == (2, True)
    for number in range(2):
        data = write_rows(tmp_path / f"{number}.csv", rows_of(day(number)))
        ok("dynamic", "add", root, "--span", day(number), "--data", data)
    assert ok("dynamic", "withdraw", root, day(1), day(0)).startswith(f"withdrawn: {day(0)}, {day(1)}\n")
    assert ok("dynamic", "withdraw", root, day(1), "--undo").startswith(f"withdrawn: {day(0)}\n")
    assert json.loads(ok("dynamic", "withdraw", root, day(1), "--undo", "--json")) == {"withdrawn": [day(0)]}
    assert read(root).withdrawn == (day(0),)
    first = ok("dynamic", "request", root, "--from-scratch")
    assert ", from scratch, of " in first
    assert ok("dynamic", "request", root, "--from-scratch") == first
    same = json.loads(ok("dynamic", "request", root, "--from-scratch", "--json"))
    assert first == f"request {same['version']}, from scratch, of {same['at']}\n"
    options = ["--problem", str(tmp_path / "days.py"), "--root", root, "--replace", "--json"]
    changed = json.loads(ok("dynamic", "init", *options))
    assert (changed["uri"], changed["settings"]["name"]) == (settings.uri, "days")
    refused = headrace("dynamic", "retry", root, "a" * 16)
    assert (refused.status, "cannot be tried again" in refused.error) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tick"], "the root has no dynamic training"),
        (["run", "dynamic", "--root"], "the root has no dynamic training"),
        (["dynamic", "status"], "the root has no dynamic training"),
    ],
)
def test_without_settings(tmp_path: Path, arguments: list[str], error: str) -> None:
    done = headrace(*arguments, str(tmp_path))
    assert (done.status, error in done.error) == (2, True)


def test_a_failed_run_ends_the_command_with_its_error(settings: DynamicSettings, tmp_path: Path) -> None:
    """Its Problem was removed from the root."""
    data = write_rows(tmp_path / "0.csv", rows_of(day(0)))
    ok("dynamic", "add", settings.root, "--span", day(0), "--data", data)
    for file in Path(settings.root, "problems").glob("*.json"):
        file.unlink()
    done = headrace("run", "dynamic", "--root", settings.root)
    # Not even the exit task can read it.
    assert (done.status, "the run ended without a summary" in done.error) == (75, True)
    again = headrace("run", "dynamic", "--root", settings.root)
    assert (again.status, "data waits" in again.error) == (75, True)
    assert settings.ledger.state().failure is not None
    shown = " ".join(ok("dynamic", "status", settings.root).split())
    assert "failed 1 of 5 attempts: the run ended without a result, or is gone: see " in shown
    assert "next the first tick after " in shown


@pytest.mark.parametrize("others", [0, 1], ids=["the last run", "a run before the last one"])
def test_what_is_given_up_ends_the_command_with_an_error(
    settings: DynamicSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """The runs are played: the first one fails, and has no further attempt."""
    change(settings, lambda _: {"attempts": 1})
    lost, ledger = arrival(0), settings.ledger
    ledger.arrive(lost)
    error = {"kind": "PlatformError", "what": "the disk is full"}

    def execute(found: DynamicSettings, run: LedgerRun, _: object) -> dict[str, Any]:
        begun = Path(storage.join(run_uri(found.root, run.id), "pipeline.yaml"))
        begun.parent.mkdir(parents=True)
        begun.write_text("")
        failed = lost.version in run.versions
        if failed and others:
            ledger.arrive(arrival(1))
        if not failed:
            ledger.claim(run.id, "x")
            ledger.end(run.id, run.epoch, "kept")
        return {
            "status": "failed" if failed else "succeeded",
            "outcome": "failed" if failed else "kept",
            "error": error if failed else None,
            "why": "",
            "model": "",
            "steps": [],
            "root": found.root,
            "run_id": run.id,
        }

    monkeypatch.setattr(local_runs, "execute", execute)
    done = headrace("run", "dynamic", "--root", settings.root)
    assert "1 data version was given up. Last reason: " in done.output
    assert (done.status, ("data versions were given up" if others else "the disk is full") in done.error) == (75, True)
    assert ledger.state().given_up == (lost.version,)
    # What was reported is an error once; it is printed as long as nobody tries it again.
    again = ok("run", "dynamic", "--root", settings.root)
    assert f"Try again: headrace dynamic retry {settings.folder} {lost.version}" in again


def test_the_tick_that_gives_up_ends_with_an_error(settings: DynamicSettings) -> None:
    change(settings, lambda _: {"attempts": 1})
    lost = arrival(0)
    settings.ledger.claim(started(settings.folder, [lost]).id, "x")
    done = headrace("tick", settings.root, "--json")
    assert (done.status, json.loads(done.output)["given_up"]) == (75, [lost.version])
    assert "data versions were given up, as their runs failed too often" in done.error
    assert lost.version in done.error
    assert ok("tick", settings.root).startswith("idle: 1 data version was given up. ")
    assert "given up 1 data version" in " ".join(ok("dynamic", "status", settings.root).split())


def test_the_status_says_what_is_under_way_and_how_to_try_again(settings: DynamicSettings, tmp_path: Path) -> None:
    one, two = arrival(0), arrival(1)
    gone = started(settings.folder, [one])
    ledger = settings.ledger
    ledger.change(lambda state: state.failed(gone.id, "the machine type does not exist", NOW, Retries(attempts=1)))
    run = started(settings.folder, [two])
    ledger.claim(run.id, "x")
    shown = " ".join(ok("dynamic", "status", settings.root).split())
    assert f"run {run.id}, attempt 1, 1 data version, claimed see {settings.root}/runs/{run.id}" in shown
    assert f"try again headrace dynamic retry {settings.root} {one.version}" in shown
    ledger.watch(run.id, "x", Watch("m1"))
    shown = " ".join(ok("dynamic", "status", settings.root).split())
    assert f"its canary m1 is under way: each `headrace tick {settings.root}` takes a step" in shown
