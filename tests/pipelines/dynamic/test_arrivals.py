"""Arrivals: the same data is one, and so is a request until its run has ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.day_spans import day, problem_file, rows_of, write_rows

from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.retries import Retries
from headrace.pipelines.dynamic.arrivals import FROM_SCRATCH, arrive, request
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.settings import DynamicSettings, change

NOW = datetime(2026, 2, 1, tzinfo=UTC)
SPAN: Any = {"data": "gs://bucket/a.csv", "reason": "file", "event": "", "now": NOW, "data_version": "generation 1"}


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


def start(settings: DynamicSettings, *arrivals: Arrival) -> None:
    versions = [one.version for one in arrivals]
    settings.ledger.change(lambda state: state.started(versions, f"run-{state.epoch}", state.next_fence))


def end(settings: DynamicSettings) -> None:
    run = settings.ledger.state().run
    assert run is not None
    settings.ledger.end(run.id, run.epoch, "kept")


def test_a_request_that_comes_again_is_the_same_until_its_run_ended(settings: DynamicSettings) -> None:
    first = request(settings, reason="schedule", event="", now=NOW)
    assert request(settings, reason="schedule", event="", now=NOW + timedelta(hours=1)) == first
    assert request(settings, reason=FROM_SCRATCH, event="", now=NOW) != first
    start(settings, first)
    assert request(settings, reason="schedule", event="", now=NOW) == first
    # An attempt that failed is no end.
    settings.ledger.change(lambda state: state.failed("run-0", "gone", NOW, Retries()))
    assert request(settings, reason="schedule", event="", now=NOW) == first
    start(settings, first)
    end(settings)
    second = request(settings, reason="schedule", event="", now=NOW)
    assert second != first
    start(settings, second)
    end(settings)
    assert request(settings, reason="schedule", event="", now=NOW) not in (first, second)
    assert len(settings.ledger.inbox.versions()) == 4


def test_a_request_during_a_run_that_does_not_hold_it_is_for_the_next_one(settings: DynamicSettings) -> None:
    start(settings, arrive(settings, **SPAN, span=day(0)))
    first = request(settings, reason="request", event="", now=NOW)
    assert request(settings, reason="request", event="", now=NOW) == first
    end(settings)
    start(settings, first)
    # Its answer was lost, and the client sends it again.
    assert request(settings, reason="request", event="", now=NOW) == first
    assert settings.ledger.state().waiting(settings.ledger.inbox.versions(), NOW) == ()


def test_a_request_is_another_one_where_its_run_does_not_know_what_came_since(settings: DynamicSettings) -> None:
    first = request(settings, reason="request", event="", now=NOW)
    start(settings, first)
    span = arrive(settings, **SPAN, span=day(0))
    second = request(settings, reason="request", event="", now=NOW)
    assert second != first
    assert request(settings, reason="request", event="", now=NOW) == second
    end(settings)
    start(settings, second, span)
    assert request(settings, reason="request", event="", now=NOW) == second
    withdrawn = change(settings, lambda _: {"withdrawn": (day(0),)})
    third = request(withdrawn, reason="request", event="", now=NOW)
    assert third not in (first, second)
    assert request(withdrawn, reason="request", event="", now=NOW) == third


def test_requests_with_ids(settings: DynamicSettings) -> None:
    first = request(settings, reason="dashboard", event="1", now=NOW)
    assert request(settings, reason="dashboard", event="1", now=NOW) == first
    assert request(settings, reason="dashboard", event="2", now=NOW) != first
