"""The summary of a batch scoring run, and who is told of it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.components.score.identity import score_identity
from headrace.components.summarize.batch import step as batch
from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import parse_event
from headrace.core.steps.workspace import record_uri, summary_uri
from headrace.core.webhook import check_webhook
from tests.support.raw_server import answering

STARTED = 1000.0
SCORED = {"rows_in": 10, "rows_out": 9, "rows_quarantined": 1, "model_version": "v1"}


@pytest.fixture
def heard() -> Iterator[tuple[str, list[Any]]]:
    """The address of a webhook, and what it is told."""
    told: list[Any] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", told
    server.shutdown()
    thread.join()
    server.server_close()


def facts(root: Path, **changes: Any) -> batch.BatchFacts:
    plain = {
        "pipeline": "batch-scoring",
        "run_id": "run",
        "job": "pipelineJobs/1",
        "started": STARTED,
        "problem": "natality",
        "data": "rows.csv",
        "data_version": "d" * 64,
        "root": str(root),
        "registry": f"{root}/registry",
        "destination": f"{root}/predictions",
    }
    return batch.BatchFacts(**{**plain, **changes})


def record(root: Path, step: str, identity: str, result: dict[str, Any], at: float = STARTED + 1, **more: Any) -> None:
    plain = {"step": step, "identity": identity, "status": "succeeded", "started": at, "outputs": {}, "error": None}
    storage.write_json(record_uri(str(root), step, identity), {**plain, "result": result, **more})


def finished(root: Path, of: batch.BatchFacts, scored_at: float = STARTED + 1) -> None:
    identity = score_identity("v1", of.data_version)
    record(root, "champion", lineage.champion_identity(of.registry, ""), {"version": "v1"})
    record(root, "score", identity, SCORED, scored_at)
    record(root, "check", lineage.check_identity(identity, 0.0), {"divergence": None})
    record(root, "publish", lineage.publish_identity("publish", identity, of.destination), {"published": "there"})


def summary(root: Path) -> dict[str, Any]:
    written: dict[str, Any] = storage.read_json(summary_uri(str(root), "run"))
    return written


def test_a_run_that_ended_well(tmp_path: Path, heard: tuple[str, list[Any]], capfd: pytest.CaptureFixture[str]) -> None:
    url, told = heard
    finished(tmp_path, facts(tmp_path))
    batch.run(facts(tmp_path, webhook=url, execution="0b1c"), engine_succeeded=True)
    assert summary(tmp_path)["status"] == "succeeded"
    assert (summary(tmp_path)["job"], summary(tmp_path)["execution"]) == ("pipelineJobs/1", "0b1c")
    assert [step["status"] for step in summary(tmp_path)["steps"]] == ["succeeded"] * 4
    text = "batch-scoring of natality succeeded: 9 predictions, 1 rows in quarantine"
    assert told == [
        {
            "text": text,
            "run_id": "run",
            "status": "succeeded",
            "data": "rows.csv",
            "model_version": "v1",
            "rows_in": 10,
            "rows_out": 9,
            "rows_quarantined": 1,
            "published": "there",
            "error": None,
        }
    ]
    (line,) = [line for line in capfd.readouterr().out.splitlines() if parse_event(line)]
    assert (json.loads(line)["severity"], json.loads(line)["message"]) == ("INFO", text)


def test_scoring_that_was_done_before(tmp_path: Path) -> None:
    finished(tmp_path, facts(tmp_path), scored_at=STARTED - 1)
    assert [step["status"] for step in batch.collect(facts(tmp_path))] == [
        "succeeded", "cached", "succeeded", "succeeded",
    ]  # fmt: skip


def test_the_run_before_of_a_schedule_is_not_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.components.summarize.step.time.time", lambda: STARTED + 100)
    finished(tmp_path, facts(tmp_path))
    batch.run(facts(tmp_path), engine_succeeded=True)
    assert summary(tmp_path)["status"] == "succeeded"
    batch.run(facts(tmp_path, job="pipelineJobs/2"), engine_succeeded=False)
    assert [step["status"] for step in summary(tmp_path)["steps"]] == ["skipped"] * 4


def test_a_champion_that_an_earlier_release_looked_up(tmp_path: Path) -> None:
    """Its record says nothing of the data."""
    of = facts(tmp_path, data_version="")
    record(tmp_path, "champion", lineage.champion_identity(of.registry, ""), {"version": "v1"})
    assert [step["status"] for step in batch.collect(of)] == ["succeeded", *["skipped"] * 3]


def test_a_run_that_failed_in_the_middle(tmp_path: Path, heard: tuple[str, list[Any]]) -> None:
    url, told = heard
    of = facts(tmp_path)
    finished(tmp_path, of)
    identity = lineage.check_identity(score_identity("v1", of.data_version), 0.0)
    error = DataError("the predictions have drifted").to_json()
    record(tmp_path, "check", identity, {}, status="failed", error=error)
    batch.run(facts(tmp_path, webhook=url), engine_succeeded=False)
    written = summary(tmp_path)
    assert (written["status"], written["error"]["what"]) == ("failed", "the predictions have drifted")
    assert [step["status"] for step in written["steps"]] == ["succeeded", "succeeded", "failed", "skipped"]
    assert told[0]["text"] == "batch-scoring of natality failed: the predictions have drifted"
    assert told[0]["published"] is None


def test_a_run_that_never_began(tmp_path: Path) -> None:
    batch.run(facts(tmp_path), engine_succeeded=False)
    assert [step["status"] for step in summary(tmp_path)["steps"]] == ["skipped"] * 4
    assert summary(tmp_path)["error"]["what"].startswith("champion exited without an error message")


def test_nobody_there_to_be_told_fails_no_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path, facts(tmp_path))
    batch.run(facts(tmp_path, webhook="http://127.0.0.1:9/secret"), engine_succeeded=True)
    out = capfd.readouterr().out
    assert '"severity": "WARNING", "message": "127.0.0.1 could not be notified: RequestFailed"' in out
    assert "secret" not in out


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://h/x", "hooks.example.com", "https://user:pass@h/x", "https:///x"),
        *("http://[::1", "http://[zz]/secret", "http://127.0.0.1:abc/", "http://127.0.0.1:99999/", "http://.a/"),
        f"http://{'a' * 64}.com/",
    ],
)
def test_what_is_no_address(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="the webhook URL is not valid") as refused:
        check_webhook(url)
    assert url not in str(refused.value)
    batch.notify(url, {"text": "x"})
    assert "the webhook could not be notified: UsageError" in capfd.readouterr().out


_REDIRECT = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"garbage\r\n\r\n", "RequestFailed"),
        (b"", "RequestFailed"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "RequestFailed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "RequestFailed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "RequestFailed"),
        (b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", "status 500"),
        (_REDIRECT + b"file:///etc/passwd\r\n\r\n", "status 302"),
        (_REDIRECT + b"http://[::1\r\n\r\n", "status 302"),
        (_REDIRECT + b"http://127.0.0.1:abc/\r\n\r\n", "status 302"),
    ],
)
def test_no_response_of_a_webhook_fails_a_run(answer: bytes, why: str, capfd: pytest.CaptureFixture[str]) -> None:
    with answering([answer]) as port:
        batch.notify(f"http://127.0.0.1:{port}/hook/SECRET", {"text": "x"})
    out = capfd.readouterr().out
    assert f"127.0.0.1 could not be notified: {why}" in out
    assert "SECRET" not in out
