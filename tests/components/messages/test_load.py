"""Load jobs whose id is made of the window, on a server that refuses an id that it knows, as BigQuery does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from support.births_stream import births

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.decode import Row
from headrace.components.messages.load import load_span
from headrace.components.messages.spans import write_span
from headrace.core.errors import PlatformError, UsageError

SPAN = "2026-11-29T120000Z-60s"
JOB = f"headrace-natality-{SPAN}"


class Jobs:
    """The jobs of a project, by id: whether each failed.

    Attributes:
        known: error by id; "" for a job that is done.
        hidden: ids that are not found until they are created again, as if another worker created them meanwhile.
        loading: what becomes of new jobs: "" or an error.
        created: ids in the order of requests to create them.
    """

    def __init__(self, known: dict[str, str] | None = None, loading: str = "") -> None:
        self.known = known or {}
        self.hidden: set[str] = set()
        self.loading = loading
        self.created: list[str] = []
        self.url = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        """Status, body and location of the answer to a request."""
        if "/tables/" in path:
            return 200, json.dumps({"tableReference": _TABLE, "location": "europe-west1"}).encode(), ""
        if method == "GET":
            name = path.rpartition("/")[2]
            if name not in self.known or name in self.hidden:
                return 404, _error(404, "Not found: Job"), ""
            assert query["location"] == "europe-west1"
            return 200, self._job(name), ""
        if query["uploadType"] == "resumable" and "upload_id" not in query:
            name = json.loads(body)["jobReference"]["jobId"]
            self.created.append(name)
            if name in self.known:
                self.hidden.discard(name)
                return 409, _error(409, f"Already Exists: Job {name}"), ""
            return 200, b"{}", f"{self.url}/upload?uploadType=resumable&upload_id={name}"
        name = query["upload_id"]
        assert body.startswith(b"PAR1")
        self.known[name] = self.loading
        return 200, self._job(name), ""

    def _job(self, name: str) -> bytes:
        error = self.known[name]
        failed = {"errorResult": {"reason": "invalid", "message": error}, "errors": []} if error else {}
        return json.dumps(
            {
                "id": name,
                "jobReference": {"projectId": "demo-project", "jobId": name, "location": "europe-west1"},
                "configuration": {"load": {"destinationTable": _TABLE}, "jobType": "LOAD"},
                "status": {"state": "DONE", **failed},
            }
        ).encode()


_TABLE = {"projectId": "demo-project", "datasetId": "births", "tableId": "rows"}


def _error(code: int, message: str) -> bytes:
    reason = {404: "notFound", 409: "duplicate"}[code]
    return json.dumps({"error": {"code": code, "message": message, "errors": [{"reason": reason}]}}).encode()


@contextmanager
def _serving(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            status, content, location = jobs.answer(self.command, parts.path, dict(parse_qsl(parts.query)), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        jobs.url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", jobs.url)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path: Path) -> MessagesConfig:
    """A stream with one span."""
    made = births(str(tmp_path), table="bigquery://demo-project.births.rows")
    letter: dict[str, Any] = {"id": "a"}
    write_span(made, SPAN, [Row(SPAN, "a", ["a", 7.5, 30.0, None, "1", None], letter)])
    return made


def test_a_second_load_finds_the_first_one(config: MessagesConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs()
    with _serving(jobs, monkeypatch):
        assert [load_span(config, SPAN) for _ in range(2)] == [True, False]
    assert jobs.known == {JOB: ""}
    assert jobs.created == [JOB]


def test_a_load_that_another_worker_began_meanwhile_is_refused_which_is_success(
    config: MessagesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs({JOB: ""})
    jobs.hidden = {JOB}
    with _serving(jobs, monkeypatch):
        assert load_span(config, SPAN) is False
    assert jobs.known == {JOB: ""}
    assert jobs.created == [JOB]


def test_the_id_of_a_failed_job_is_spent(config: MessagesConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs({JOB: "the table was gone"})
    with _serving(jobs, monkeypatch):
        assert [load_span(config, SPAN) for _ in range(2)] == [True, False]
    assert jobs.known == {JOB: "the table was gone", f"{JOB}-1": ""}


def test_a_load_that_fails_says_why_and_is_bounded(config: MessagesConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(loading="no such field")
    with _serving(jobs, monkeypatch):
        for _ in range(20):
            with pytest.raises(UsageError, match="BigQuery rejected the request") as refused:
                load_span(config, SPAN)
        assert "no such field" in str(refused.value.received)
        with pytest.raises(PlatformError, match="every load job of the file failed"):
            load_span(config, SPAN)
    assert len(jobs.known) == 20
