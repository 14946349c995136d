"""Tick: it announces what nobody heard of, and then pumps."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from peers.pipeline_platforms import headrace
from support.day_spans import day, problem_file, rows_of, write_rows
from support.registered_models import make_model

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.errors import DataError, PlatformError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import Status
from headrace.core.ledger.state import LedgerRun
from headrace.core.model_events.event import ModelEvent
from headrace.core.signals import Terminated
from headrace.core.steps.workspace import summary_uri
from headrace.pipelines.dynamic.arguments import announced_uri
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.tick import announce_again, tick

NOW = datetime(2026, 2, 1, tzinfo=UTC)


class Recorded:
    """A platform that records what is started."""

    def __init__(self) -> None:
        self.started: list[tuple[LedgerRun, list[str]]] = []

    def status(self, run_id: str) -> Status:
        return "alive" if any(run.id == run_id for run, _ in self.started) else "absent"

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        self.started.append((run, [arrival.span for arrival in arrivals]))


def test_all_that_waits_is_one_run(tmp_path: Path) -> None:
    settings, runs = initialize(problem_file(tmp_path).path, str(tmp_path / "root")), Recorded()
    assert tick(settings, NOW, runs=runs).did == "idle"
    for number in range(3):
        data = write_rows(tmp_path / f"{number}.csv", rows_of(day(number)))
        arrive(settings, data=data, span=day(number), reason="file", event="", now=NOW)
    assert [tick(settings, NOW, runs=runs).did for _ in range(3)] == ["started", "running", "running"]
    ((run, spans),) = runs.started
    assert spans == [day(0), day(1), day(2)]
    assert run.id.startswith("days-")


def test_a_change_by_hand_is_announced_by_the_next_tick(tmp_path: Path) -> None:
    events = tmp_path / "events"
    settings = initialize(problem_file(tmp_path).path, str(tmp_path / "root"), announce=(str(events),))
    registry = Registry(settings.registry)
    for version in ("v1", "v2"):
        registry.register(make_model(tmp_path / version, version, problem="days"))
        registry.promote(version)
    for _ in range(2):
        tick(settings, NOW, runs=Recorded())
    assert [file.name for file in events.glob("*.json")] == ["days-0000000004.json"]
    registry.mark_bad("v2")
    tick(settings, NOW, runs=Recorded())
    assert sorted(file.name for file in events.glob("*.json"))[1:] == ["days-0000000005.json"]
    assert announce_again(initialize(problem_file(tmp_path).path, str(tmp_path / "other"))) == ""


def test_what_a_command_announced_is_what_the_tick_would_send(tmp_path: Path) -> None:
    """To the folder of the training's own events, whichever Problem the settings have by now."""
    events = tmp_path / "events"
    settings = initialize(problem_file(tmp_path).path, str(tmp_path / "root"), announce=(str(events),))
    registry = Registry(settings.registry)
    for version in ("v1", "v2"):
        registry.register(make_model(tmp_path / version, version, problem="days", digest=version * 32))
    sent: dict[str, bytes] = {}
    for change in (["promote", "v1"], ["promote", "v2"], ["archive", "v2", "--bad"]):
        action, version, *more = change
        announced = ["--announce", str(events)] if action == "promote" else []
        done = headrace("registry", action, settings.registry, version, *more, *announced)
        assert done.status == 0, done.error
        before = {file.name: file.read_bytes() for file in events.glob("*.json")}
        # As if no destination had heard of anything.
        Path(announced_uri(settings)).unlink(missing_ok=True)
        assert tick(settings, NOW, runs=Recorded()).why == "every data version that arrived is done"
        after = {file.name: file.read_bytes() for file in events.glob("*.json")}
        assert {name: after[name] for name in before} == before
        sent = after
    found = [ModelEvent.decode(sent[name], name) for name in sorted(sent)]
    assert [(one.action, one.problem[:2]) for one in found] == [
        ("promote", "v1"),
        ("promote", "v2"),
        ("rollback", "v1"),
    ]


def test_no_destination_keeps_a_run_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = initialize(
        problem_file(tmp_path).path, str(tmp_path / "root"), announce=("https://127.0.0.1:9/hook", "events")
    )
    assert settings.announce[1] == str(tmp_path / "events")
    Registry(settings.registry).register(make_model(tmp_path / "v1", "v1", problem="days"))
    Registry(settings.registry).promote("v1")
    data = write_rows(tmp_path / "0.csv", rows_of(day(0)))
    arrive(settings, data=data, span=day(0), reason="file", event="", now=NOW)
    runs = Recorded()
    first = tick(settings, NOW, runs=runs)
    assert first.did == "started"
    assert ". Not announced to https://127.0.0.1/..., which the next tick repeats: " in first.why
    assert len(list((tmp_path / "events").glob("*.json"))) == 1
    # Not even a registry that cannot be read.
    monkeypatch.setattr(Registry, "state", lambda _: (_ for _ in ()).throw(PlatformError("the disk failed")))
    second = tick(settings, NOW, runs=runs)
    assert second.did == "running"
    unsent = "Not announced to any destination, which the next tick repeats: the disk failed."
    assert second.why.endswith(f" is under way. {unsent}")


def test_a_signal_during_an_announcement_ends_the_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = initialize(problem_file(tmp_path).path, str(tmp_path / "root"), announce=(str(tmp_path / "events"),))
    monkeypatch.setattr(Registry, "state", lambda _: (_ for _ in ()).throw(Terminated.by(signal.SIGTERM)))
    with pytest.raises(Terminated):
        tick(settings, NOW, runs=Recorded())


@pytest.mark.parametrize("left", ['{"status": "failed", "why": "train: the disk is full"}', "{", "[]", None])
def test_a_run_that_failed_is_counted_with_its_error(tmp_path: Path, left: str | None) -> None:
    settings, runs = initialize(problem_file(tmp_path).path, str(tmp_path / "root")), Recorded()
    data = write_rows(tmp_path / "0.csv", rows_of(day(0)))
    arrive(settings, data=data, span=day(0), reason="file", event="", now=NOW)
    run = tick(settings, NOW, runs=runs).run
    assert run is not None
    uri = summary_uri(settings.root, run.id)
    if left is not None:
        storage.write_bytes(uri, left.encode())
    runs.status = lambda _: "ended"  # type: ignore[method-assign]
    assert tick(settings, NOW, runs=runs).did == "waiting"
    failure = settings.ledger.state().failure
    assert failure is not None
    folder = uri.removesuffix("/summary.json")
    without = f"the run ended without a result, or is gone: see {folder}"
    assert failure.reason == (f"train: the disk is full: see {uri}" if left and "why" in left else without)


@pytest.mark.parametrize("content", [b"{", b"null", b"[]", b'{"format": 7}'])
def test_a_damaged_ledger_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    settings = initialize(problem_file(tmp_path).path, str(tmp_path / "root"))
    data = write_rows(tmp_path / "0.csv", rows_of(day(0)))
    arrive(settings, data=data, span=day(0), reason="file", event="", now=NOW)
    ledger = Path(settings.folder, "ledger.json")
    ledger.write_bytes(content)
    for call in (
        lambda: tick(settings, NOW, runs=Recorded()),
        lambda: settings.ledger.change(lambda state: state.marked_bad("m")),
    ):
        with pytest.raises(DataError, match="the ledger is damaged") as damaged:
            call()
        assert damaged.value.where == str(ledger)
        assert "Without one, move it and the folder epochs next to it away" in str(damaged.value.fix)
    assert ledger.read_bytes() == content
    ledger.rename(tmp_path / "ledger.json")
    assert tick(settings, NOW, runs=Recorded()).did == "started"
