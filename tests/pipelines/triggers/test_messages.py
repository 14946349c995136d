"""Spans of messages as arrivals of a dynamic training."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.triggered import CountedRuns, settings_below

from headrace.components.messages.request import PendingSpan, RequestRule, add_pending, request_training
from headrace.pipelines.triggers.messages import DynamicTraining

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_pending_spans_are_one_run_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = CountedRuns()
    monkeypatch.setattr("headrace.pipelines.dynamic.runs.runs_of", lambda _: runs)
    settings = settings_below(tmp_path)
    uri = str(tmp_path / "births" / "pending.json")
    for minute in range(2):
        data = tmp_path / f"{minute}.parquet"
        pq.write_table(pa.table({"mother_age": [30.0 + minute]}), data)
        add_pending(uri, PendingSpan(f"2026-11-29T120{minute}00Z-60s", str(data), 1, NOON))
    training = DynamicTraining(settings.folder)
    found = request_training(uri, RequestRule(rows=2), training, NOON)
    assert found.reason == "rows"
    assert found.did.startswith("started run flights-")
    ((_, arrivals),) = runs.started.items()
    assert [(each.span, each.reason) for each in arrivals] == [
        ("2026-11-29T120000Z-60s", "messages, rows"),
        ("2026-11-29T120100Z-60s", "messages, rows"),
    ]
    # A worker that did not hear of it makes the request again.
    training.arrive("2026-11-29T120000Z-60s", str(tmp_path / "0.parquet"), "messages, rows", NOON)
    assert len(settings.ledger.inbox.versions()) == 2
    assert "under way" in training.pump(NOON)
    assert len(runs.started) == 1
