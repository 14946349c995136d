"""The streaming pipeline on Beam's TestStream: windows, lateness, duplicates, malformed messages and requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as played
from apache_beam.utils.timestamp import Timestamp

from headrace.components.messages import stages
from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.pipeline import aggregate
from headrace.components.messages.request import RequestRule, pending
from headrace.core.beam.launch import counters
from headrace.core.beam.runners import DirectRunner
from headrace.core.errors import PlatformError

Make = Callable[..., MessagesConfig]
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Notes:
    """A training that writes down what it is told; the first pumps fail where the file `down` is there."""

    folder: str

    def arrive(self, span: str, data: str, reason: str, now: datetime) -> None:
        with (Path(self.folder) / "arrived").open("a") as file:
            file.write(f"{span} {reason}\n")

    def pump(self, now: datetime) -> str:
        down = Path(self.folder) / "down"
        if down.exists():
            down.unlink()
            raise PlatformError("the platform does not answer")
        with (Path(self.folder) / "pumped").open("a") as file:
            file.write("pumped\n")
        return "started"

    def lines(self, name: str) -> list[str]:
        path = Path(self.folder) / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Where the training writes."""
    return Notes(str(tmp_path))


def _message(name: str, second: float, age: float = 30.0, data: bytes | None = None, **attributes: str) -> Any:
    """A message published so many seconds after noon."""
    row = {"record_id": name, "weight_pounds": 7.0, "mother_age": age, "plurality": "1"}
    content = json.dumps(row).encode() if data is None else data
    return PubsubMessage(content, attributes, f"m-{name}", NOON + timedelta(seconds=second))


def _run(config: MessagesConfig, notes: Notes, events: Sequence[Any], rule: RequestRule | None = None) -> None:
    """Plays events: messages, ("watermark", seconds after noon), or ("time", seconds that pass)."""
    stream = played.TestStream().advance_watermark_to(Timestamp(NOON.timestamp() - 3600))
    for event in events:
        if isinstance(event, tuple):
            kind, seconds = event
            if kind == "watermark":
                stream.advance_watermark_to(Timestamp(NOON.timestamp() + seconds))
            else:
                stream.advance_processing_time(seconds)
        else:
            stream.add_elements([beam.window.TimestampedValue(event, event.publish_time.timestamp())])
    stream.advance_watermark_to_infinity()
    options = PipelineOptions([], streaming=True)
    pipeline = beam.Pipeline(runner=DirectRunner().make_streaming(), options=options)
    aggregate(pipeline | stream, config, rule or RequestRule(rows=1000), notes)
    pipeline.run().wait_until_finish()


def _ids(config: MessagesConfig, span: str) -> list[str]:
    ids: list[str] = pq.read_table(config.span_uri(span)).column("headrace_message_id").to_pylist()
    return ids


def _dead(config: MessagesConfig) -> list[tuple[str, str]]:
    folder = Path(config.dead_letters)
    lines = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((line["id"], line["reason"]) for line in lines)


def _spans(config: MessagesConfig) -> list[str]:
    return sorted(path.name.partition("Z-")[0] for path in Path(config.spans).glob("*.parquet"))


def test_each_window_is_one_span_whatever_order_messages_come_in(make_config: Make, notes: Notes) -> None:
    config = make_config()
    _run(
        config,
        notes,
        [_message("c", 61), _message("a", 5), _message("b", 59), ("watermark", 131), _message("d", 140)],
    )
    assert _spans(config) == ["2026-11-29T120000", "2026-11-29T120100", "2026-11-29T120200"]
    assert _ids(config, "2026-11-29T120000Z-60s") == ["m-a", "m-b"]
    assert _ids(config, "2026-11-29T120100Z-60s") == ["m-c"]
    assert _dead(config) == []


def test_a_window_accepts_messages_within_its_grace_and_then_keeps_them_as_late(
    make_config: Make, notes: Notes
) -> None:
    config = make_config()
    _run(
        config,
        notes,
        [
            _message("a", 5),
            # The window is over at 60, and closed at 70.
            ("watermark", 69),
            _message("b", 20),
            ("watermark", 71),
            _message("c", 30),
            ("watermark", 90_000),
            _message("d", 40),
        ],
    )
    assert _ids(config, "2026-11-29T120000Z-60s") == ["m-a", "m-b"]
    assert _dead(config) == [("m-c", "late"), ("m-d", "late")]


def test_a_message_that_is_delivered_again_is_in_its_span_once(make_config: Make, notes: Notes) -> None:
    config = make_config()
    again = _message("a", 5)
    _run(config, notes, [again, again, ("watermark", 71), again, ("watermark", 90_000), again])
    assert _ids(config, "2026-11-29T120000Z-60s") == ["m-a"]
    # The very same set of messages, again, is an attempt of the same work.
    assert _dead(config) == [("m-a", "duplicate")]


def test_a_message_that_is_published_again_is_a_duplicate_within_a_time(make_config: Make, notes: Notes) -> None:
    config = make_config(id_attribute="event", duplicates_seconds=60)
    _run(
        config,
        notes,
        [
            _message("a", 5, event="e1"),
            _message("b", 65, event="e1"),
            _message("c", 66, event="e2"),
            _message("d", 67),
            ("watermark", 131),
        ],
    )
    assert _ids(config, "2026-11-29T120000Z-60s") == ["e1"]
    assert _ids(config, "2026-11-29T120100Z-60s") == ["e2", "m-d"]
    assert _dead(config) == [("e1", "duplicate")]


def test_malformed_messages_are_kept_and_do_not_stop_the_others(make_config: Make, notes: Notes) -> None:
    config = make_config(time_attribute="at")
    messages = [
        _message("a", 5, at="2026-11-29T12:00:04Z"),
        _message("b", 6, data=b"\xff", at="2026-11-29T12:00:04Z"),
        _message("c", 7, data=b"{}", at="2026-11-29T12:00:04Z"),
        _message("d", 8, at="yesterday"),
        _message("e", 9, at="2027-01-01T00:00:00Z"),
        _message("f", 10, at="2026-11-28T12:00:00Z"),
    ]
    _run(config, notes, messages)
    assert _ids(config, "2026-11-29T120000Z-60s") == ["m-a"]
    malformed = [(f"m-{name}", "malformed") for name in "bcde"]
    assert _dead(config) == [*malformed, ("m-f", "late")]


def test_settling_waits_for_older_messages_that_the_watermark_does_not_know(make_config: Make, notes: Notes) -> None:
    config = make_config(settle_seconds=20)
    _run(
        config,
        notes,
        [
            # A backlog: the watermark is the time, as the DirectRunner has it.
            ("watermark", 3600),
            _message("a", 5),
            ("time", 5),
            _message("b", 6),
            _message("c", 7),
            ("time", 3600 * 24 * 365 * 100),
        ],
    )
    assert _ids(config, "2026-11-29T120000Z-60s") == ["m-a", "m-b", "m-c"]


def test_training_is_requested_when_enough_rows_have_come(make_config: Make, notes: Notes) -> None:
    config = make_config()
    events = [_message(f"{n}", 60 * n + 1) for n in range(5)]
    _run(config, notes, [*events, ("watermark", 600)], RequestRule(rows=2))
    assert notes.lines("arrived") == [
        "2026-11-29T120000Z-60s messages, rows",
        "2026-11-29T120100Z-60s messages, rows",
        "2026-11-29T120200Z-60s messages, rows",
        "2026-11-29T120300Z-60s messages, rows",
    ]
    assert notes.lines("pumped") == ["pumped", "pumped"]
    assert [span.span for span in pending(config.pending)] == ["2026-11-29T120400Z-60s"]


def test_a_platform_that_fails_does_not_stop_the_stream(make_config: Make, notes: Notes, tmp_path: Path) -> None:
    config = make_config()
    (tmp_path / "down").touch()
    _run(config, notes, [_message("a", 1), ("watermark", 71), _message("b", 61)], RequestRule(rows=1))
    assert _spans(config) == ["2026-11-29T120000", "2026-11-29T120100"]
    # The next span makes the request for both.
    assert notes.lines("pumped") == ["pumped"]
    assert pending(config.pending) == []


def test_the_counters_of_a_job_say_what_became_of_its_messages(make_config: Make, notes: Notes) -> None:
    config = make_config()
    # On this runner, which ends: the streaming DirectRunner loses counts of all but a stage's first bundle.
    pipeline = beam.Pipeline(runner=DirectRunner().make(), options=PipelineOptions([]))
    messages = [_message("a", 5), _message("a", 5), _message("b", 6, data=b"?"), _message("c", 70)]
    aggregate(pipeline | beam.Create(messages), config, RequestRule(rows=1), notes)
    result = pipeline.run()
    result.wait_until_finish()
    found = counters(result, stages.METRICS)
    requests = found.pop("requests")
    assert found == {"messages": 4, "rows": 2, "spans": 2, "malformed": 1, "duplicate": 1}
    assert 1 <= requests <= 2
    assert _ids(config, "2026-11-29T120000Z-60s") == ["m-a"]
    assert sorted(notes.lines("arrived")) == [f"2026-11-29T12{m}Z-60s messages, rows" for m in ("0000", "0100")]
