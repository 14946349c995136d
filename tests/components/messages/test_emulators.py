"""The messages trigger on the streaming DirectRunner, the emulator of Pub/Sub and that of BigQuery."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from peers.bigquery import PROJECT, Server, _client
from peers.pubsub import Topic
from support.births_stream import births

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.dead_letters import as_parquet, write_dead_letters
from headrace.components.messages.decode import Row
from headrace.components.messages.load import create_tables, load_dead_letters, load_span
from headrace.components.messages.pipeline import aggregate, read_messages
from headrace.components.messages.request import RequestRule
from headrace.components.messages.spans import write_span
from headrace.core.beam.runners import DirectRunner
from headrace.core.beam.stream import run_stream
from headrace.core.beam.windows import Windows
from headrace.core.cloud.pubsub import require_subscription, require_topic
from headrace.core.errors import DataError, UsageError

SPAN = "2026-11-29T120000Z-60s"
_PATIENCE_S = 600.0


class Idle:
    """A training that does nothing."""

    def arrive(self, span: str, data: str, reason: str, now: Any) -> None:
        """Nothing."""

    def pump(self, now: Any) -> str:
        """Nothing."""
        return "idle"


def _rows(*names: str) -> list[Row]:
    letter = {"message_id": "1", "published": "2026-11-29T12:00:30.000Z", "attributes": {"a": "b"}, "data": "{}"}
    return [Row(SPAN, name, [name, 7.5, 30.0, None, "1", None], {**letter, "id": name}) for name in names]


@pytest.fixture
def dataset(bigquery: Server) -> Iterator[tuple[str, Any]]:
    """A new dataset, as PROJECT.NAME, and a client."""
    client = _client(bigquery)
    name = f"{PROJECT}.messages_{time.time_ns()}"
    client.create_dataset(name)
    yield name, client
    client.close()


def _table(client: Any, name: str) -> list[dict[str, Any]]:
    return [dict(row.items()) for row in client.query_and_wait(f"SELECT * FROM `{name}`")]


def _loaded(client: Any, name: str) -> set[str]:
    return {str(row["headrace_message_id"]) for row in _table(client, name)}


def test_spans_and_dead_letters_are_loaded_as_they_are(dataset: tuple[str, Any], tmp_path: Path) -> None:
    name, client = dataset
    tables = {"table": f"bigquery://{name}.births", "dead_letter_table": f"bigquery://{name}.dead"}
    config = births(str(tmp_path), **tables)
    create_tables(config)
    create_tables(config)
    write_span(config, SPAN, _rows("a", "b"))
    # That a second load is refused is tested in test_load.py: the emulator gives jobs ids of its own.
    assert load_span(config, SPAN)
    loaded = sorted(_table(client, f"{name}.births"), key=lambda row: str(row["record_id"]))
    assert loaded == pq.read_table(config.span_uri(SPAN)).to_pylist()
    letters = [{**row.message, "reason": "late", "message": "after"} for row in _rows("c", "d")]
    uri, content = write_dead_letters(config, SPAN, letters)
    assert load_dead_letters(config, uri, as_parquet(content))
    dead = sorted(_table(client, f"{name}.dead"), key=lambda row: str(row["id"]))
    assert [(row["id"], row["reason"], json.loads(row["attributes"])) for row in dead] == [
        ("c", "late", {"a": "b"}),
        ("d", "late", {"a": "b"}),
    ]


def test_a_table_of_other_columns_or_no_dataset_is_refused(dataset: tuple[str, Any], tmp_path: Path) -> None:
    from google.cloud import bigquery as bq

    name, client = dataset
    client.create_table(bq.Table(f"{name}.other", [bq.SchemaField("mother_age", "STRING")]))
    with pytest.raises(UsageError, match="the table has other columns") as refused:
        create_tables(births(str(tmp_path), table=f"bigquery://{name}.other"))
    assert "mother_age (FLOAT): STRING" in str(refused.value.received)
    with pytest.raises(DataError, match="the dataset does not exist"):
        create_tables(births(str(tmp_path), table=f"bigquery://{PROJECT}.nowhere.births"))


@contextmanager
def _streaming(config: MessagesConfig, wake: Callable[[], Any]) -> Iterator[list[BaseException]]:
    """Runs the trigger in a thread, until the block ends; `wake` ends the runner's wait for messages."""
    stop, failures = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            run_stream(
                lambda pipeline: aggregate(read_messages(pipeline, config), config, RequestRule(), Idle()),
                DirectRunner(),
                "messages",
                stop,
            )
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        while thread.is_alive():
            wake()
            thread.join(0.5)


def _until(condition: Callable[[], bool], failures: list[BaseException], each: Callable[[], Any]) -> None:
    """Waits for a condition; `each` wakes the DirectRunner, which fires no timer while it waits for messages."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert not failures, failures
        assert time.monotonic() < deadline, "it did not happen"
        each()
        time.sleep(0.5)


def _read(config: MessagesConfig) -> list[str]:
    tables = [pq.read_table(file) for file in sorted(Path(config.spans).glob("*.parquet"))]
    return [name for table in tables for name in table.column("headrace_message_id").to_pylist()]


def _dead(config: MessagesConfig) -> list[tuple[str, str]]:
    files = Path(config.dead_letters).glob("*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted((line["id"], line["reason"]) for line in lines)


def test_messages_become_spans_a_table_and_dead_letters(
    make_topic: Callable[[], Topic], dataset: tuple[str, Any], tmp_path: Path
) -> None:
    name, client = dataset
    topic = make_topic()
    config = births(
        str(tmp_path / "births"),
        subscription=topic.subscription,
        windows=Windows(2, 1),
        settle_seconds=6,
        id_attribute="event",
        table=f"bigquery://{name}.births",
        dead_letter_table=f"bigquery://{name}.dead",
    )
    create_tables(config)
    row = {"record_id": "r", "weight_pounds": 7.0, "mother_age": 30, "plurality": "1"}
    ids = [f"e{number:02d}" for number in range(30)]
    # Some before the job starts, some while it runs.
    for event in ids[:15]:
        topic.publish(json.dumps(row).encode(), {"event": event})
    topic.publish(b"not JSON", {"event": "bad"})

    def wake() -> None:
        topic.publish(b"", {"event": "wake"})

    with _streaming(config, wake) as failures:
        for event in ids[15:]:
            topic.publish(json.dumps(row).encode(), {"event": event})
        topic.publish(json.dumps(row).encode(), {"event": "e03"})

        def complete() -> bool:
            return {*ids} <= {*_read(config)} and {("bad", "malformed"), ("e03", "duplicate")} <= {*_dead(config)}

        _until(complete, failures, wake)
        _until(lambda: _loaded(client, f"{name}.births") == {*ids}, failures, wake)
    assert sorted(_read(config)) == ids
    assert {each for each in _dead(config) if each[0] != "wake"} == {("bad", "malformed"), ("e03", "duplicate")}


def test_a_job_that_starts_again_after_a_seek_makes_no_message_twice(
    make_topic: Callable[[], Topic], tmp_path: Path
) -> None:
    topic = make_topic()
    config = births(str(tmp_path / "births"), subscription=topic.subscription, windows=Windows(2, 1), settle_seconds=6)
    row = json.dumps({"record_id": "r", "weight_pounds": 7.0, "mother_age": 30, "plurality": "1"}).encode()
    published = {topic.publish(row) for _ in range(12)}

    def wake() -> None:
        topic.publish(b"wake")

    with _streaming(config, wake) as failures:
        _until(lambda: published <= {*_read(config)}, failures, wake)
    before = {file: file.read_bytes() for file in Path(config.spans).glob("*.parquet")}
    topic.seek(-3600)
    with _streaming(config, wake) as failures:
        more = {topic.publish(row) for _ in range(5)}
        _until(lambda: more <= {*_read(config)}, failures, wake)
    assert sorted(_read(config)) == sorted([*published, *more])
    assert all(file.read_bytes() == content for file, content in before.items())


def test_names_that_do_not_exist_are_refused_before_a_job_starts(make_topic: Callable[[], Topic]) -> None:
    topic = make_topic()
    require_subscription(topic.subscription)
    require_topic(topic.name)
    with pytest.raises(UsageError, match="the subscription does not exist"):
        require_subscription(f"{topic.subscription}-x")
    with pytest.raises(UsageError, match="the topic does not exist"):
        require_topic(f"{topic.name}-x")
