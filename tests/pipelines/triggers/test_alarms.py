"""Alarms of monitoring as triggers: each new one requests a training, once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.command import headrace
from support.triggered import CountedRuns, settings_below

from headrace.components.monitor.alarms import Alarm, Alarms, lines
from headrace.core.errors import DataError
from headrace.pipelines.triggers.alarms import latest_alarms, trigger_by_alarms

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MAKE = Alarms("flights", "r" * 16, "2026-11-22T00:00:00Z")


def drift(feature: str, day: int) -> Alarm:
    window = (f"2026-11-{day}T00:00:00Z", f"2026-11-{day + 1}T00:00:00Z")
    return MAKE.alarm("drift", feature, 0.3, 0.1, window)


def age() -> Alarm:
    return MAKE.alarm("model_age", "", 40.0, 30.0, about="2026-10-01")


def monitored(folder: Path, *alarms: Alarm) -> str:
    (folder / "alarms.jsonl").write_bytes(lines(alarms))
    return str(folder)


def test_the_last_window_counts_and_ages_do(tmp_path: Path) -> None:
    alarms = drift("a", 20), drift("b", 21), drift("c", 21), age()
    assert latest_alarms(monitored(tmp_path, *alarms)) == list(alarms[1:])
    assert latest_alarms(str(tmp_path / "alarms.jsonl")) == list(alarms[1:])
    assert latest_alarms(monitored(tmp_path)) == []


def test_an_alarm_requests_one_training_however_often_it_is_measured(tmp_path: Path) -> None:
    settings, runs = settings_below(tmp_path / "root"), CountedRuns()
    monitoring = monitored(tmp_path, drift("a", 20), drift("b", 20))
    for _ in range(3):
        trigger_by_alarms(settings, monitoring, NOW, runs=runs)
    ((first, second),) = runs.started.values()
    assert {each.reason for each in (first, second)} == {"alarm"}
    assert {each.event for each in (first, second)} == {drift("a", 20).id, drift("b", 20).id}
    run = settings.ledger.state().run
    assert run is not None
    settings.ledger.claim(run.id, "one")
    settings.ledger.end(run.id, 1, "kept")
    alarms, pumped = trigger_by_alarms(settings, monitoring, NOW, runs=runs)
    assert (len(alarms), pumped.did) == (2, "idle")
    # The next day's drift is another alarm.
    monitored(tmp_path, drift("a", 20), drift("b", 20), drift("a", 21))
    assert trigger_by_alarms(settings, monitoring, NOW, runs=runs)[1].did == "started"
    assert len(runs.started) == 2


def test_without_an_alarm_nothing_is_requested(tmp_path: Path) -> None:
    settings = settings_below(tmp_path / "root")
    done = headrace("trigger", "alarm", monitored(tmp_path), "--settings", settings.root)
    assert (done.returncode, done.stdout) == (0, "idle: every data version that arrived is done\n")
    assert settings.ledger.inbox.versions() == []


@pytest.mark.parametrize("content", [b"{", b"3\n", b"{}\n", b'{"id": "a"}\n', b"\xff\n"])
def test_alarms_that_are_damaged_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alarms.jsonl").write_bytes(content)
    with pytest.raises(DataError, match="the alarms are damaged"):
        latest_alarms(str(tmp_path))


def test_a_folder_without_a_monitoring_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the Monitoring does not exist"):
        latest_alarms(str(tmp_path / "nothing"))
