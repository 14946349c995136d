"""Compare-and-set of small files, alike on a disk, on gs:// and on s3://."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage.compare_and_set import (
    create_if_absent,
    read_with_token,
    replace_if_unchanged,
    update_json,
)
from headrace.core.storage.lock import locked
from headrace.core.storage.remote import gcs, s3


@pytest.fixture(params=["disk", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet."""
    if request.param == "disk":
        return str(tmp_path / "place")
    bucket = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
    return f"{request.param}://{bucket}/place"


def test_a_file_is_created_once_and_replaced_only_where_it_is_as_it_was_read(place: str) -> None:
    uri = f"{place}/state.json"
    assert read_with_token(uri) is None
    assert create_if_absent(uri, b"first")
    assert not create_if_absent(uri, b"first")
    first = read_with_token(uri)
    assert first is not None
    assert first.content == b"first"
    assert replace_if_unchanged(uri, b"second", first.token)
    assert not replace_if_unchanged(uri, b"third", first.token)
    second = read_with_token(uri)
    assert second is not None
    assert second.content == b"second"
    assert not replace_if_unchanged(f"{place}/absent.json", b"x", second.token)
    assert not storage.exists(f"{place}/absent.json")


@max_examples(50)
@given(steps=st.lists(st.tuples(st.sampled_from(["read", "create", "replace"]), st.integers(0, 2), st.binary())))
def test_any_sequence_of_calls_on_a_disk_is_as_on_a_variable(steps: list[tuple[str, int, bytes]]) -> None:
    """Three callers, each with what it last read; None stands for a file that does not exist."""
    with tempfile.TemporaryDirectory() as folder:
        uri, content, seen = f"{folder}/state", None, [read_with_token(f"{folder}/state")] * 3
        for step, who, new in steps:
            if step == "read":
                seen[who] = read_with_token(uri)
                assert (seen[who] and seen[who].content) == content  # type: ignore[union-attr]
            elif step == "create":
                assert create_if_absent(uri, new) == (content is None)
                content = new if content is None else content
            elif (last := seen[who]) is not None:
                assert replace_if_unchanged(uri, new, last.token) == (content == last.content)
                content = new if content == last.content else content


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_file_in_a_store_that_was_changed_and_changed_back_is_another_one(
    kind: str, request: pytest.FixtureRequest
) -> None:
    uri = f"{kind}://{request.getfixturevalue('bucket' if kind == 'gs' else 's3_bucket')}/state.json"
    assert create_if_absent(uri, b"A\n")
    tokens: list[str] = []
    for content in (b"B\n", b"A\n", b"B\n", b"B\n", b"A\n"):
        now = read_with_token(uri)
        assert now is not None
        assert replace_if_unchanged(uri, content, now.token)
        tokens.append(now.token)
        for token in tokens:
            assert not replace_if_unchanged(uri, b"C\n", token)
    now = read_with_token(uri)
    assert now is not None
    assert (now.content, now.token in tokens) == (b"A\n", False)


_RACE = """
import json, os, sys
from headrace.core import storage
from headrace.core.storage.compare_and_set import create_if_absent, update_json
place = sys.argv[1]
if storage.is_remote(place):
    from headrace.core.storage.remote import conditional_writes_of
    conditional_writes_of(place)
children = []
for number in range(20):
    child = os.fork()
    if not child:
        won = create_if_absent(place + "/once", str(number).encode())
        for turn in range(int(sys.argv[2])):
            update_json(place + "/all.json", lambda now: sorted([*(now or []), number * 100 + turn]))
        os._exit(10 if won else 0)
    children.append(child)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


def test_20_processes_at_a_time_lose_no_change_and_one_creates(place: str) -> None:
    turns = 2 if storage.is_remote(place) else 10
    command = [sys.executable, "-c", _RACE, place, str(turns)]
    statuses = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert sorted(statuses) == [0] * 19 + [10]
    assert storage.read_bytes(f"{place}/once") == str(statuses.index(10)).encode()
    assert storage.read_json(f"{place}/all.json") == [n * 100 + turn for n in range(20) for turn in range(turns)]


def test_20_threads_at_a_time_lose_no_change(place: str) -> None:
    uri = f"{place}/all.json"
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: update_json(uri, lambda now: sorted([*(now or []), number])), range(20)))
    assert storage.read_json(uri) == list(range(20))


_FOREVER = """
import sys
from headrace.core.storage.compare_and_set import update_json
def more(now):
    return {"count": (now or {"count": 0})["count"] + 1, "filler": "x" * 100_000}
update_json(sys.argv[1], more)
print("begun", flush=True)
while True:
    update_json(sys.argv[1], more)
"""


def test_a_process_killed_at_any_moment_leaves_a_whole_file_and_no_lock(tmp_path: Path) -> None:
    uri = str(tmp_path / "state.json")
    for delay in range(8):
        writer = subprocess.Popen([sys.executable, "-c", _FOREVER, uri], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        time.sleep(0.003 * delay)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        killed = storage.read_json(uri)
        assert len(killed["filler"]) == 100_000
        after = update_json(uri, lambda now: {**now, "count": now["count"] + 1})
        assert after["count"] == killed["count"] + 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"state.json"}


def test_the_lock_of_the_folder_is_another_one(tmp_path: Path) -> None:
    with locked(str(tmp_path)):
        assert create_if_absent(str(tmp_path / "state.json"), b"{}")


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_killed_writer_changes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The write stops at the flush of the file, at its renaming, and at the flush of the folder."""
    uri = str(tmp_path / "state.json")
    create_if_absent(uri, b"old")
    old = read_with_token(uri)
    assert old is not None
    calls = iter([1, 2])

    class Killed(BaseException):
        pass

    def flush(_: int) -> None:
        if next(calls) == {"before": 1, "during": 0, "after": 2}[when]:
            raise Killed

    def rename(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "fsync", flush)
        if when == "during":
            patched.setattr(Path, "replace", rename)
        replace_if_unchanged(uri, b"new", old.token)
    assert storage.read_bytes(uri) == (b"new" if when == "after" else b"old")
    now = read_with_token(uri)
    assert now is not None
    assert replace_if_unchanged(uri, b"newer", now.token)


def test_an_equal_value_writes_nothing(place: str) -> None:
    uri = f"{place}/state.json"
    assert update_json(uri, lambda now: now) is None
    assert not storage.exists(uri)
    update_json(uri, lambda _: {"x": 1})
    before = read_with_token(uri)
    assert update_json(uri, dict) == {"x": 1}
    assert read_with_token(uri) == before


def test_what_cannot_be_read_or_written(tmp_path: Path, place: str) -> None:
    create_if_absent(f"{place}/text", b"{")
    with pytest.raises(DataError, match="the file is not valid JSON"):
        update_json(f"{place}/text", lambda now: now)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be"):
        read_with_token(str(tmp_path / "file" / "state.json"))
    with pytest.raises(UsageError, match="cannot be written"):
        create_if_absent(str(tmp_path / "file" / "state.json"), b"{}")
    with pytest.raises(UsageError, match="cannot be read"):
        read_with_token(str(tmp_path))


# Lost answers


@dataclass(frozen=True)
class Service:
    """An object store.

    Attributes:
        bucket: URI of an empty bucket.
        url: of the server.
        variable: of the environment, that names the server.
        upload: the HTTP method of an upload.
        client: the module that connects to it.
    """

    bucket: str
    url: str
    variable: str
    upload: str
    client: Any


@pytest.fixture(params=["gs", "s3"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The services."""
    if request.param == "gs":
        monkeypatch.setattr(gcs, "_RETRY_SECONDS", 600.0)
        bucket, url = (request.getfixturevalue(name) for name in ("bucket", "cloud_storage"))
        return Service(f"gs://{bucket}", url, "STORAGE_EMULATOR_HOST", "POST", gcs)
    monkeypatch.setattr(s3, "_ATTEMPTS", 3)
    bucket, url = (request.getfixturevalue(name) for name in ("s3_bucket", "s3_server"))
    # The uploads of the check would be counted too.
    monkeypatch.setattr(s3, "conditional_buckets", lambda: {bucket})
    return Service(f"s3://{bucket}", url, "AWS_ENDPOINT_URL", "PUT", s3)


@contextmanager
def losing(
    service: Service, lost: Callable[[int], bool], then: Callable[[int], None] = lambda _: None
) -> Iterator[str]:
    """A proxy that does not pass on the answers to some uploads, by their number; `then` runs after each upload."""
    host = service.url.removeprefix("http://")
    number = iter(range(1000))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection(host)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "expect")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if self.command == service.upload:
                this = next(number)
                then(this)
                if lost(this):
                    self.close_connection = True
                    return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = pass_on  # noqa: N815 - http.server calls these

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
        service.client.close()
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def test_a_write_whose_answer_was_lost_is_ours(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{service.bucket}/state.json"
    with losing(service, lambda number: number in (0, 3)) as url:
        monkeypatch.setenv(service.variable, url)
        assert create_if_absent(uri, b"mine")
        assert not create_if_absent(uri, b"mine")
        now = read_with_token(uri)
        assert now is not None
        assert replace_if_unchanged(uri, b"next", now.token)
        assert not replace_if_unchanged(uri, b"next", now.token)


def test_a_lost_write_is_ours_also_if_others_wrote_since(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{service.bucket}/log.json"

    def another(number: int) -> None:
        if number == 0:
            monkeypatch.setenv(service.variable, service.url)
            for name in "abc":
                update_json(uri, lambda now, name=name: [*now, name])

    with losing(service, lambda number: number == 0, another) as url:
        monkeypatch.setenv(service.variable, url)
        assert update_json(uri, lambda now: [*(now or []), "mine"]) == ["mine"]
    assert storage.read_json(uri) == ["mine", "a", "b", "c"]


def test_a_lost_write_is_ours_also_if_others_undid_it_since(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that read the same content before all of this must not erase the trace of the lost write."""
    uri = f"{service.bucket}/state.json"
    update_json(uri, lambda _: {"spans": []})
    early = read_with_token(uri)
    assert early is not None

    def another(number: int) -> None:
        if number == 0:
            monkeypatch.setenv(service.variable, service.url)
            assert update_json(uri, lambda now: {"spans": now["spans"][:-1]}) == {"spans": []}
            assert not replace_if_unchanged(uri, b'{"spans": ["early"]}', early.token)

    added = 0

    def add(now: dict[str, list[str]]) -> dict[str, list[str]]:
        nonlocal added
        added += 1
        return {"spans": [*now["spans"], "mine"]}

    with losing(service, lambda number: number == 0, another) as url:
        monkeypatch.setenv(service.variable, url)
        update_json(uri, add)
    assert added == 1
    assert storage.read_json(uri) == {"spans": []}


def test_a_service_that_never_answers_is_no_conflict(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "_RETRY_SECONDS", 5.0)
    with losing(service, lambda _: True) as url:
        monkeypatch.setenv(service.variable, url)
        with pytest.raises(PlatformError):
            create_if_absent(f"{service.bucket}/state.json", b"mine")
