"""examples/stream: the replay of flights on a broker, and the page."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from peers.kafka import Broker
from support.html_page import Page
from support.triggered import settings_below

from headrace.core.problem.file import load_problem

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "stream"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The example's modules, which import each other by their short names."""
    found = {}
    for name in ("shared", "replay", "spans", "topics", "page"):
        folder = EXAMPLE.parent if name == "shared" else EXAMPLE
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = found[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    for name in found:
        del sys.modules[name]


def flight(number: int, air_time: float | None) -> dict[str, Any]:
    return {"flight": number, "air_time": air_time, "distance": 500, "hour": "6", "origin": "JFK", "carrier": "AA"}


def test_every_flight_is_a_record_and_has_its_label_later(kafka: Broker, modules: dict[str, ModuleType]) -> None:
    kafka.topics(flights=2, air_times=2)
    flights = [flight(1, 100.0), flight(2, None), flight(3, 60.0)]

    def longer(row: dict[str, Any]) -> float | None:
        return None if row["air_time"] is None else 1.5 * row["air_time"]

    replay = modules["replay"].Replay(kafka.bootstrap, flights, 50.0, longer, (0.1, 0.2))
    replay.start()
    end = time.monotonic() + 600
    while len(replay.labelled) < 10 and time.monotonic() < end:
        time.sleep(0.02)
    replay.stop()
    records = {message.key(): json.loads(message.value()) for message in kafka.read("flights", replay.sent)}
    assert records[b"1.0"] == {"key": "1.0", "distance": 500, "hour": "6", "origin": "JFK", "carrier": "AA"}
    labels = {message.key(): json.loads(message.value()) for message in kafka.read("air-times", len(replay.labelled))}
    assert labels[b"1.0"] == {"air_time": 150.0}
    assert labels[b"3.1"] == {"air_time": 90.0}
    assert set(labels) < set(records)
    assert not any(key.startswith(b"2.") for key in labels)
    assert set(replay.labelled[0]) == set(flights[0])


def test_a_reader_keeps_what_it_has_read(kafka: Broker, modules: dict[str, ModuleType]) -> None:
    topics = modules["topics"]
    kafka.topics(predictions=1, metrics=1, alarms=1)
    kafka.send("predictions", b'{"model_version": "v1"}', b'{"model_version": "v2"}')
    topics.send(kafka.bootstrap, "metrics", b'{"version": "v1", "rows": 3}')
    topics.send(kafka.bootstrap, "metrics", b'{"version": "v1", "rows": 0}')
    with topics.Reader(kafka.bootstrap, ["predictions", "metrics", "alarms"]) as reader:
        end = time.monotonic() + 600
        while (len(reader.predictions), len(reader.values("metrics"))) < (2, 2) and time.monotonic() < end:
            reader.read(0.1)
        assert reader.versions() == {"v1", "v2"}
        assert reader.windows("v1") == 1
        assert reader.values("alarms") == []


def test_labels_become_spans_until_a_run_begins(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    settings = settings_below(tmp_path / "root")
    labelled = [flight(1, 100.0)]
    spans = modules["spans"].Spans(settings, tmp_path / "spans", labelled, 0.05)
    spans.start()
    labelled += [flight(2, 120.0), flight(3, None)]
    inbox = settings.ledger.inbox
    assert modules["spans"].wait_until(inbox.versions, 600, 0.02)
    run = settings.ledger.change(lambda state: state.started(inbox.versions(), "run-1", state.next_fence))
    assert run.run is not None
    spans.join(600)
    (arrival,) = inbox.read(inbox.versions())
    assert (arrival.span, arrival.reason) == ("labels-0001", "file")
    header, row = Path(arrival.data).read_text().splitlines()
    assert header == "flight,air_time,distance,hour,origin,carrier"
    assert row == "2,120.0,500,6,JFK,AA"
    assert spans.rows == [2]


def played_of(page: ModuleType, *values: tuple[str, float]) -> Any:
    def window(at: int, version: str, value: float) -> dict[str, Any]:
        begin, end = (f"1970-01-01T00:01:{10 * each:02}Z" for each in (at, at + 1))
        metrics = {"rmse": {"value": value}}
        return {"begin": begin, "end": end, "version": version, "judged": "rmse", "metrics": metrics}

    metrics = [window(at, *each) for at, each in enumerate(values)]
    return page.Played(
        events=[page.Event(75.0, "routes are <longer>"), page.Event(60.0, "version 1 is announced")],
        versions={"a" * 16: "version 1", "b" * 16: "version 2"},
        predictions=[(60.0 + at / 10, "a" * 16 if at < 300 else "b" * 16) for at in range(400)],
        metrics=[*metrics, {**metrics[0], "metrics": {}}],
        alarms=[{"alarm": "model_refused"}, {"alarm": "metric", "threshold": 18.0}],
    )


def test_the_page_has_predictions_the_metric_and_events(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    page = modules["page"]
    played = played_of(page, ("a" * 16, 12.0), ("a" * 16, 40.0), ("b" * 16, 11.0))
    assert played.recovered
    assert played.measured == [(65.0, "a" * 16, 12.0), (75.0, "a" * 16, 40.0), (85.0, "b" * 16, 11.0)]
    text = page.write_page(tmp_path / "page.html", played).read_text()
    # Every element is closed in order.
    Page(text)
    assert "400 predictions by 2 versions. The error was 12.0 minutes, 40.0 at its worst, and 11.0 in the end." in text
    assert "<td>routes are &lt;longer&gt;</td>" in text
    assert text.count("<svg") == 2
    # Nothing is loaded from elsewhere.
    assert "http" not in text.replace("http://www.w3.org", "")


def test_a_metric_that_did_not_decay_or_recover_is_told_apart(modules: dict[str, ModuleType]) -> None:
    page = modules["page"]
    assert not played_of(page, ("a" * 16, 12.0), ("b" * 16, 11.0)).recovered
    assert not played_of(page, ("a" * 16, 12.0), ("b" * 16, 40.0)).recovered


def test_the_problem_of_the_example() -> None:
    problem = load_problem(str(EXAMPLE / "flights.py")).problem
    assert problem.gate is not None
    assert (problem.gate.metric, problem.gate.at_most) == ("root_mean_squared_error", 18.0)
