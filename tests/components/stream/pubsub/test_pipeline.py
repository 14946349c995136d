"""The Pub/Sub scorer on Beam's TestStream: bundles, models that change between them, dead letters and duplicates."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as played
from apache_beam.utils.timestamp import Timestamp
from support.stream_models import APP, StreamModels, rollback
from support.tiny_model import INSTANCES, expected_weight

from headrace.components.announce.destinations import send
from headrace.components.score.options import EndpointOptions
from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.pubsub import stages, table
from headrace.components.stream.pubsub.by_http import ByHttp
from headrace.components.stream.pubsub.config import PubSubConfig
from headrace.components.stream.pubsub.in_process import InProcessModels
from headrace.components.stream.pubsub.pipeline import load, score
from headrace.components.stream.pubsub.sources import ModelSource, scorer_of
from headrace.components.stream.pubsub.stages import dead_letter, prediction_of
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import Rejection, score_records
from headrace.core.beam.launch import counters
from headrace.core.beam.runners import DirectRunner
from headrace.core.beam.windows import Windows
from headrace.core.errors import PlatformError, UsageError
from headrace.core.model_events.event import ModelEvent

PROJECT = "projects/demo-project"
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Write(beam.DoFn):
    """Appends each message to a file."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def process(self, message: PubsubMessage) -> None:
        line = json.dumps([message.data.decode("utf-8", "replace"), message.attributes, message.ordering_key])
        with Path(self._path).open("a") as file:
            file.write(f"{line}\n")


class Send(beam.DoFn):
    """Passes records on. Before one with an attribute `event`, an event is written, and its model is settled."""

    def __init__(self, source: InProcessModels, events: Sequence[ModelEvent]) -> None:
        self._source = source
        self._events = {event.version: event for event in events}

    def process(self, message: PubsubMessage) -> Any:
        name = message.attributes.get("event")
        if name in self._events:
            send(self._events[name], self._source.models)
        elif name:
            (Path(self._source.models) / f"{APP}-{name}.json").write_text("{}")
        if name:
            scorer = scorer_of(self._source)
            scorer.look()
            scorer._models.settle()  # type: ignore[attr-defined]
        yield message


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., PubSubConfig]:
    """Options of a scorer; its model is read when it is loaded, and no file is read again by other tests."""

    def make(source: ModelSource | None = None, **more: Any) -> PubSubConfig:
        folder = tmp_path / "events"
        folder.mkdir(exist_ok=True)
        values = {
            "app": APP,
            "subscription": f"{PROJECT}/subscriptions/births",
            "predictions": f"{PROJECT}/topics/weights",
            "dead_letters": f"{PROJECT}/topics/dead",
            "alarms": f"{PROJECT}/topics/alarms",
            "source": source or InProcessModels(APP, str(folder), look_seconds=0.0),
        }
        return PubSubConfig(**{**values, **more})

    return make


def _record(number: int, **attributes: str) -> PubsubMessage:
    row = {**INSTANCES[number % len(INSTANCES)], "key": f"k{number}"}
    return PubsubMessage(json.dumps(row).encode(), attributes, f"m{number}", NOON, "")


def _run(
    config: PubSubConfig, folder: Path, bundles: Sequence[Sequence[PubsubMessage] | int], events: Any = ()
) -> None:
    """Plays bundles; a number is seconds of the time of processing that pass, which is at first that of 1970."""
    stream = played.TestStream()
    for bundle in bundles:
        if isinstance(bundle, int):
            stream.advance_processing_time(bundle)
        else:
            stream.add_elements(list(bundle))
    pipeline = beam.Pipeline(runner=DirectRunner().make_streaming(), options=PipelineOptions([], streaming=True))
    records = pipeline | stream.advance_watermark_to_infinity()
    if isinstance(config.source, InProcessModels):
        records = records | "announce" >> beam.ParDo(Send(config.source, events))
    scored = score(records, config)
    for tag, messages in (("main", scored.main), ("dead", scored[stages.DEAD]), ("alarms", scored[stages.ALARMS])):
        messages | f"write {tag}" >> beam.ParDo(Write(folder / tag))
    pipeline.run().wait_until_finish()


def _read(folder: Path, tag: str) -> list[tuple[Any, dict[str, str]]]:
    path = folder / tag
    lines = path.read_text().splitlines() if path.exists() else []
    return [(json.loads(data), attributes) for data, attributes, _ in map(json.loads, lines)]


@pytest.mark.parametrize("endpoint_rows", [None, 1, 960], ids=["in process", "by HTTP, 1", "by HTTP, 960"])
def test_each_record_has_the_prediction_of_batch_scoring(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel, url: str, endpoint_rows: int | None
) -> None:
    source = None if endpoint_rows is None else ByHttp(EndpointOptions(url, rows_per_request=endpoint_rows))
    config = make_config(source, batch_records=4)
    send(loaded.event, str(tmp_path / "events"))
    records = [_record(number, station=str(number)) for number in range(11)]
    _run(config, tmp_path, [records[:1], records[1:10], records[10:]])
    found = _read(tmp_path, "main")
    expected = score_records([record.data for record in records], loaded, JsonCodec())
    # In bundles of 1, 9 and 1, and batches of at most 4: the same bits as all at once. An endpoint names no epoch.
    wanted = [json.loads(one.prediction or b"") for one in expected]
    if endpoint_rows is not None:
        wanted = [{name: value for name, value in row.items() if name != "model_epoch"} for row in wanted]
    assert [data for data, _ in found] == wanted
    assert [attributes for _, attributes in found] == [
        {"station": str(number), "headrace-message-id": f"m{number}"} for number in range(11)
    ]
    assert found[0][0]["prediction"] == pytest.approx(expected_weight(INSTANCES[0]))
    assert _read(tmp_path, "dead") == []


@pytest.mark.parametrize("endpoint_rows", [1, 960])
def test_bad_records_are_dead_letters_for_the_same_reasons_by_http(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel, url: str, endpoint_rows: int
) -> None:
    config = make_config(ByHttp(EndpointOptions(url, rows_per_request=endpoint_rows)))
    bad = [PubsubMessage(b'"no object"', {"a": "b"}, "m8", NOON), PubsubMessage(b"{}", {}, "m9", NOON)]
    _run(config, tmp_path, [[_record(0), *bad, _record(1)]])
    assert [data["key"] for data, _ in _read(tmp_path, "main")] == ["k0", "k1"]
    expected = [one.rejected for one in score_records([message.data for message in bad], loaded, JsonCodec())]
    found = [attributes for _, attributes in _read(tmp_path, "dead")]
    assert [each["headrace-reason"] for each in found] == [one.reason for one in expected if one is not None]
    assert [each["headrace-message-id"] for each in found] == ["m8", "m9"]
    assert [each["headrace-model-version"] for each in found] == ["loaded", "loaded"]


def test_a_newer_model_is_used_from_the_next_bundle_on_and_a_bad_one_never(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, stream_models: StreamModels
) -> None:
    one, two = stream_models.event("one", 1), stream_models.event("two", 2, bias=2.0)
    bad, back = stream_models.wrong("bad", 3), rollback(one, 4)
    events = [one, two, bad]
    names = ["one", "", "two", "", "bad", "", "0000000009", ""]
    bundles = [[_record(0, **({"event": name} if name else {}))] for name in names]
    config = make_config(duplicates_seconds=0)
    _run(config, tmp_path, bundles, events)
    weight = pytest.approx(expected_weight(INSTANCES[0]))
    found = [(each["model_version"], each["model_epoch"], each["prediction"]) for each, _ in _read(tmp_path, "main")]
    assert found == [("one", 1, weight)] * 2 + [("two", 2, pytest.approx(expected_weight(INSTANCES[0], 2.0)))] * 6
    alarms = {alarm["alarm"]: alarm for alarm, _ in _read(tmp_path, "alarms")}
    assert set(alarms) == {"model_refused", "model_invalid"}
    assert (alarms["model_refused"]["version"], alarms["model_refused"]["in_use"]) == ("bad", "two")
    # A rollback is a newer event that names an older version; the same job, started again, uses it at once.
    send(back, config.source.models)  # type: ignore[attr-defined]
    again = replace(config, source=replace(config.source, look_seconds=0.1))  # type: ignore[type-var]
    (tmp_path / "main").unlink()
    _run(again, tmp_path, [[_record(0)]])
    (found_again,) = _read(tmp_path, "main")
    assert (found_again[0]["model_version"], found_again[0]["model_epoch"]) == ("one", 4)


def test_records_without_a_prediction_are_dead_letters_with_their_reason(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel
) -> None:
    config = make_config()
    send(loaded.event, str(tmp_path / "events"))
    bad = [PubsubMessage(b'"no object"', {"a": "b"}, "m8", NOON), PubsubMessage(b"{}", {}, "m9", NOON)]
    _run(config, tmp_path, [[_record(0), *bad, _record(1)]])
    assert [data["key"] for data, _ in _read(tmp_path, "main")] == ["k0", "k1"]
    found = _read(tmp_path, "dead")
    assert [(attributes["headrace-reason"], attributes["headrace-message-id"]) for _, attributes in found] == [
        ("malformed_row", "m8"),
        ("missing_value", "m9"),
    ]
    assert found[0][0] == "no object"
    assert found[0][1]["a"] == "b"
    assert found[0][1]["headrace-model-version"] == "loaded"


def test_without_a_model_records_are_skipped_or_held(make_config: Callable[..., PubSubConfig], tmp_path: Path) -> None:
    _run(make_config(), tmp_path, [[_record(0)]])
    ((_, attributes),) = _read(tmp_path, "dead")
    assert (attributes["headrace-reason"], "headrace-model-version" in attributes) == ("no_model", False)
    held = InProcessModels(APP, str(tmp_path / "events"), without_model="hold", hold_seconds=0.0, look_seconds=0.0)
    with pytest.raises(PlatformError, match="no model is loaded yet, and records are held"):
        _run(make_config(held), tmp_path, [[_record(0)]])


def test_a_bundle_that_begins_while_another_looks_is_held_too(tmp_path: Path) -> None:
    source = InProcessModels(APP, str(tmp_path / "events"), without_model="hold", hold_seconds=0.0, look_seconds=60.0)
    models = source.make()
    with pytest.raises(PlatformError, match="records are held"):
        models.look()
    failed: list[PlatformError] = []

    def begin() -> None:
        try:
            models.look()
        except PlatformError as error:
            failed.append(error)

    with models._lock:
        bundle = threading.Thread(target=begin)
        bundle.start()
        bundle.join(60)
    bundle.join(60)
    assert [error.what for error in failed] == ["no model is loaded yet, and records are held"]


def test_a_record_that_comes_again_is_scored_once_within_a_time(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel
) -> None:
    config = make_config(id_attribute="event_id")
    send(loaded.event, str(tmp_path / "events"))
    first = [_record(0, event_id="a"), _record(1, event_id="a"), _record(2)]
    _run(config, tmp_path, [first, [_record(2), _record(3, event_id="a"), _record(4)]])
    assert [data["key"] for data, _ in _read(tmp_path, "main")] == ["k0", "k2", "k4"]


def test_an_id_is_forgotten_after_the_stated_time(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(Timestamp):
        """The time at which the stream begins."""

        @staticmethod
        def now() -> Timestamp:
            return Timestamp(0)

    monkeypatch.setattr("headrace.core.beam.collect.Timestamp", Clock)
    send(loaded.event, str(tmp_path / "events"))
    before, within, after = _record(0), _record(0), _record(0)
    before.attributes["sent"], within.attributes["sent"], after.attributes["sent"] = "first", "within", "after"
    _run(make_config(duplicates_seconds=600), tmp_path, [[before], 599, [within], 1, [after]])
    assert [attributes["sent"] for _, attributes in _read(tmp_path, "main")] == ["first", "after"]


def test_the_counters_of_a_job_say_what_became_of_its_records(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel
) -> None:
    config = make_config(duplicates_seconds=0)
    send(loaded.event, str(tmp_path / "events"))
    pipeline = beam.Pipeline(runner=DirectRunner().make(), options=PipelineOptions([]))
    score(pipeline | beam.Create([_record(0), _record(1), PubsubMessage(b"?", {}, "m", NOON)]), config)
    result = pipeline.run()
    result.wait_until_finish()
    assert counters(result, stages.METRICS) == {"records": 3, "predicted": 2, "malformed_row": 1}


def test_a_letter_fits_into_a_message_whatever_its_record_holds() -> None:
    attributes = {f"a{number}": "x" * 1024 for number in range(100)}
    record = PubsubMessage(b"x" * 9_999_000, attributes, "m", NOON, "order")
    rejected = Rejection("malformed_row", "é" * 1000)
    letter = dead_letter(record, rejected, APP, "v1")
    assert letter._to_proto_str(for_publish=True)
    assert letter.attributes["headrace-value-bytes"] == "9999000"
    assert letter.ordering_key == "order"
    small = prediction_of(record, b"{}")
    assert small._to_proto_str(for_publish=True)
    again = dead_letter(PubsubMessage(b"{", letter.attributes, "n", NOON), Rejection("not_finite", "no"), APP, "")
    assert (again.attributes["headrace-reason"], "headrace-value-bytes" in again.attributes) == ("not_finite", False)


def test_a_letter_with_the_largest_attributes_fits_too() -> None:
    attributes = {f"a{number:02}{'n' * 253}": "x" * 1024 for number in range(100)}
    record = PubsubMessage(b"x" * 9_850_001, attributes, "m", NOON, "order")
    assert record._to_proto_str(for_publish=True)
    letter = dead_letter(record, Rejection("malformed_row", "é" * 1000), APP, "v1")
    assert letter._to_proto_str(for_publish=True)
    kept = dead_letter(replace_data(record, 9_850_000), Rejection("malformed_row", "é" * 1000), APP, "v1")
    assert len(kept.data) == 9_850_000
    assert kept._to_proto_str(for_publish=True)


def replace_data(record: PubsubMessage, size: int) -> PubsubMessage:
    return PubsubMessage(b"x" * size, record.attributes, record.message_id, NOON, record.ordering_key)


def test_a_prediction_that_is_larger_than_a_message_may_be_is_a_dead_letter(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel
) -> None:
    config = make_config()
    send(loaded.event, str(tmp_path / "events"))
    row = json.dumps({**INSTANCES[0], "key": "x" * 9_900_000}).encode()
    record = PubsubMessage(row, {"a": "b"}, "m9", NOON)
    assert record._to_proto_str(for_publish=True)
    _run(config, tmp_path, [[record, _record(1)]])
    assert [data["key"] for data, _ in _read(tmp_path, "main")] == ["k1"]
    (line,) = (tmp_path / "dead").read_text().splitlines()
    data, attributes, _ = json.loads(line)
    assert (data, attributes["headrace-reason"], attributes["headrace-value-bytes"]) == ("", "too_large", str(len(row)))


@pytest.mark.parametrize("named", [{"model_version": "one"}, {}])
def test_a_prediction_of_an_endpoint_is_a_row_without_an_epoch(named: dict[str, str]) -> None:
    message = PubsubMessage(json.dumps({"prediction": 7.5, **named}).encode(), {"headrace-message-id": "m1"})
    ((_, row),) = table.ByWindow(Windows(60, 10)).process(message, Timestamp(NOON.timestamp()))
    (found,) = pq.read_table(pa.BufferReader(table.as_parquet([row]))).to_pylist()
    assert (found["model_version"], found["model_epoch"]) == (named.get("model_version"), None)
    assert json.loads(found["prediction"]) == {"prediction": 7.5}


def test_predictions_of_a_window_are_loaded_together(
    make_config: Callable[..., PubSubConfig], tmp_path: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: dict[str, list[dict[str, Any]]] = {}

    def load_once(table: str, job: str, content: bytes) -> bool:
        assert table == "bigquery://demo-project.births.weights"
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
        return jobs.setdefault(job, rows) is rows

    monkeypatch.setattr("headrace.components.stream.pubsub.table.load_once", load_once)
    config = make_config(predictions="", table="bigquery://demo-project.births.weights", windows=Windows(60, 10))
    send(loaded.event, str(tmp_path / "events"))
    stream = played.TestStream().advance_watermark_to(Timestamp(NOON.timestamp() - 60))
    for second, number in ((5, 0), (61, 2), (6, 1)):
        at = NOON + timedelta(seconds=second)
        record = _record(number, station="north")
        stream.add_elements([beam.window.TimestampedValue(record, at.timestamp())])
    pipeline = beam.Pipeline(runner=DirectRunner().make_streaming(), options=PipelineOptions([], streaming=True))
    load(score(pipeline | stream.advance_watermark_to_infinity(), config).main, config)
    pipeline.run().wait_until_finish()
    names = sorted(name.rpartition("-")[0] for name in jobs)
    assert names == [f"headrace-{APP}-2026-11-29T12{minute}Z-60s" for minute in ("0000", "0100")]
    rows = sorted((row for rows in jobs.values() for row in rows), key=lambda row: str(row["message_id"]))
    assert [row["message_id"] for row in rows] == ["m0", "m1", "m2"]
    assert [row["published"] for row in rows] == [NOON + timedelta(seconds=second) for second in (5, 6, 61)]
    assert json.loads(rows[0]["attributes"]) == {"station": "north"}
    expected = score_records([_record(0).data], loaded, JsonCodec())[0].prediction
    assert json.loads(rows[0]["prediction"]) | {
        "model_version": rows[0]["model_version"],
        "model_epoch": rows[0]["model_epoch"],
    } == json.loads(expected or b"")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"predictions": ""}, "the destination of predictions is missing"),
        ({"table": "births"}, "it is not a table of BigQuery"),
        ({"app": "1"}, "the name of the application is not valid"),
        ({"subscription": "births"}, "the name is not valid"),
        ({"predictions": f"{PROJECT}/subscriptions/a"}, "the name is not valid"),
        ({"dead_letters": f"{PROJECT}/topics/weights"}, "need different topics"),
        ({"batch_records": 0}, "batch_records is wrong"),
        ({"duplicates_seconds": -1}, "duplicates_seconds is wrong"),
    ],
)
def test_wrong_options_are_refused(make_config: Callable[..., PubSubConfig], more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_config(**more)


@pytest.mark.parametrize("more", [{"models": ""}, {"without_model": "wait"}, {"rules": "none"}, {"look_seconds": -1}])
def test_wrong_options_of_models_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        InProcessModels(**{"app": APP, "models": "events", **more})
