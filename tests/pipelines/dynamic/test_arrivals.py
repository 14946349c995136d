"""Arrivals: the same data is one, and so is a request until a run takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.day_spans import day, problem_file, rows_of, write_rows

from headrace.core.errors import DataError, UsageError
from headrace.pipelines.dynamic.arrivals import FROM_SCRATCH, arrive, request
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.settings import DynamicSettings

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> DynamicSettings:
    return initialize(problem_file(tmp_path).path, str(tmp_path / "root"))


def test_the_same_data_is_one_arrival(settings: DynamicSettings, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.csv", rows_of(day(0)))
    first = arrive(settings, data=data, span=day(0), reason="file", event="1", now=NOW)
    # Somebody wrote it again.
    copy = write_rows(tmp_path / "a.csv", rows_of(day(0)))
    assert arrive(settings, data=copy, span=day(0), reason="request", event="2", now=NOW + timedelta(days=1)) == first
    assert settings.ledger.inbox.versions() == [first.version]
    assert (first.data, first.at, first.reason, first.event) == (data, "2026-02-01T00:00:00+00:00", "file", "1")


def test_other_data_and_another_span_are_others(settings: DynamicSettings, tmp_path: Path) -> None:
    found = {
        arrive(settings, data=data, span=span, reason="file", event="", now=NOW).version
        for span in (day(0), day(1))
        for data in (write_rows(tmp_path / f"{number}.csv", rows_of(day(0), number)) for number in range(2))
    }
    assert len(found) == 4


def test_a_known_version_is_not_measured(settings: DynamicSettings) -> None:
    found = arrive(
        settings, data="gs://bucket/a.csv", span=day(0), reason="file", event="", now=NOW, data_version="generation 1"
    )
    assert found.data_version == "generation 1"


def test_a_relative_path_is_stored_absolute(
    settings: DynamicSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.csv", rows_of(day(0)))
    assert arrive(settings, data="a.csv", span=day(0), reason="file", event="", now=NOW).data == str(tmp_path / "a.csv")


def test_what_is_refused(settings: DynamicSettings, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.csv", rows_of(day(0)))
    with pytest.raises(UsageError, match="the data has no span"):
        arrive(settings, data=data, span="", reason="file", event="", now=NOW)
    with pytest.raises(DataError):
        arrive(settings, data=str(tmp_path / "absent.csv"), span=day(0), reason="file", event="", now=NOW)
    with pytest.raises(UsageError, match="the span is not valid"):
        arrive(settings, data=data, span="../x", reason="file", event="", now=NOW)
    in_days = initialize(problem_file(tmp_path).path, str(tmp_path / "other"), last_days=7)
    with pytest.raises(UsageError, match="the span has no day"):
        arrive(in_days, data=data, span="week-1", reason="file", event="", now=NOW)
    assert settings.ledger.inbox.versions() == []


def test_a_request_is_one_until_a_run_takes_it(settings: DynamicSettings) -> None:
    first = request(settings, reason="schedule", event="", now=NOW)
    assert request(settings, reason="schedule", event="", now=NOW + timedelta(hours=1)) == first
    assert request(settings, reason=FROM_SCRATCH, event="", now=NOW) != first
    ledger = settings.ledger
    run = ledger.change(lambda state: state.started([first.version], "run", state.next_fence)).run
    assert run is not None
    # The run under way trains without it.
    second = request(settings, reason="schedule", event="", now=NOW)
    assert second != first
    ledger.claim("run", "holder")
    ledger.end("run", 1, "kept")
    assert request(settings, reason="schedule", event="", now=NOW) == second


def test_requests_with_ids(settings: DynamicSettings) -> None:
    first = request(settings, reason="dashboard", event="1", now=NOW)
    assert request(settings, reason="dashboard", event="1", now=NOW) == first
    assert request(settings, reason="dashboard", event="2", now=NOW) != first
