"""`headrace trigger messages`: its options, and a job on the emulator until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from peers.pubsub import Topic
from support.command import headrace
from support.triggered import settings_below

from headrace.core.problem.file import load_problem

PROBLEM = """
from headrace import Numeric, Problem

problem = Problem(name="flights", key="id", label=Numeric("delay"), features=[Numeric("hour")])
"""


@pytest.fixture
def settings(tmp_path: Path) -> str:
    """Settings of a dynamic training with a Problem."""
    path = tmp_path / "flights.py"
    path.write_text(PROBLEM)
    written = settings_below(tmp_path / "root")
    replace(written, problem=str(path), digests=_digests(path)).write(replace=True)
    return str(tmp_path / "root")


def _digests(path: Path) -> dict[str, str]:
    digests = load_problem(str(path)).digests
    return {name: digests[name] for name in ("problem_digest", "schema_digest", "training_digest", "evaluation_digest")}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--subscription", "births"], "the name is not valid"),
        (
            ["--runner", "FlinkRunner", "--job-endpoint", "localhost:1", "--environment-type", "LOOPBACK"],
            "read Pub/Sub",
        ),
        (["--training-rows", "0"], "training would never be requested"),
        (["--window-seconds", "0"], "window_seconds is wrong"),
        (["--table", "rows"], "it is not a table of BigQuery"),
    ],
)
def test_wrong_options_are_refused(settings: str, tmp_path: Path, more: list[str], said: str) -> None:
    given = ["--subscription", "projects/demo-project/subscriptions/births", *more]
    found = headrace("trigger", "messages", "--settings", settings, "--output", tmp_path / "stream", *given)
    assert found.returncode == 2
    assert said in " ".join(found.stderr.split())
    assert not (tmp_path / "stream").exists()


def test_workers_on_dataflow_cannot_reach_this_machine(settings: str, tmp_path: Path) -> None:
    found = headrace(
        *("trigger", "messages", "--settings", settings, "--output", tmp_path / "stream"),
        *("--subscription", "projects/demo-project/subscriptions/births", "--runner", "DataflowRunner"),
        *("--project", "demo-project", "--region", "europe-west1", "--temp-location", "gs://bucket/temp"),
        *("--sdk-container-image", "europe-docker.pkg.dev/demo-project/headrace/beam-worker:1"),
    )
    assert found.returncode == 2
    assert "cannot reach" in " ".join(found.stderr.split())


def test_a_job_makes_spans_until_it_is_stopped(settings: str, tmp_path: Path, make_topic: Callable[[], Topic]) -> None:
    topic = make_topic()
    spans = tmp_path / "stream" / "spans"
    published = {topic.publish(json.dumps({"id": str(n), "delay": n, "hour": 7}).encode()) for n in range(5)}

    def read() -> set[str]:
        tables = [pq.read_table(file) for file in spans.glob("*.parquet")] if spans.exists() else []
        return {name for table in tables for name in table.column("headrace_message_id").to_pylist()}

    def watch() -> None:
        deadline = time.monotonic() + 600
        while not published <= read() and time.monotonic() < deadline:
            topic.publish(b"wake")
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        while not done.wait(0.5):
            topic.publish(b"wake")

    done = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        found = headrace(
            *("trigger", "messages", "--settings", settings, "--output", tmp_path / "stream"),
            *("--subscription", topic.subscription, "--window-seconds", "2", "--grace", "6"),
        )
    finally:
        done.set()
        thread.join()
    assert found.returncode == 0, found.stderr
    assert read() == published
    assert "rows" in found.stderr
    assert "stopped. Messages of windows that are not written were acknowledged." in found.stderr
