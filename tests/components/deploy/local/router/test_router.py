"""The router among clients and versions of every behaviour: real sockets, in this process."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.components.deploy.local.router import front as front_module
from headrace.components.deploy.local.router.app import RouterApp, counts_in
from headrace.components.deploy.local.router.backend import Backend
from headrace.components.deploy.local.router.front import Front
from headrace.components.deploy.local.router.versions import Restarts
from headrace.components.deploy.state import EndpointState

# No test gets near it by itself, however busy the machine is.
LONG_S = 3600.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have as long as a busy machine needs."""
    monkeypatch.setattr(front_module, "ARRIVAL_TIMEOUT_S", LONG_S)


class Version:
    """A version's process: answers with its name and what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.hold: asyncio.Event | None = None
        self.ends_after = False
        self.seen: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await _head(reader):
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            self.seen.append(head.split(b"\r\n")[0])
            if self.hold is not None:
                await self.hold.wait()
            answer = json.dumps({"version": self.name, "body": body.decode()}).encode()
            lines = b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\nx-model-version: %s\r\n\r\n"
            writer.write(lines % (self.status, len(answer), self.name.encode()))
            if not head.startswith(b"HEAD"):
                writer.write(answer)
            if self.ends_after:
                break
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


class Stage:
    """A router with versions behind it."""

    def __init__(self, front: Front, app: RouterApp, port: int, fake: Any) -> None:
        self.front, self.app, self.port, self.fake = front, app, port, fake
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def ask(self, body: bytes = b"{}", path: str = "/predict", method: str = "POST", head: str = "") -> Any:
        reader, writer = await self.connect()
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: h\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        status, headers, content = await _response(reader, bodiless=method == "HEAD")
        writer.close()
        return status, headers, content


async def _response(reader: asyncio.StreamReader, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    content = b"" if bodiless else await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, content


def _receiving(front: Front) -> tuple[int, int]:
    """The number of connections with a part of a head, and with a part of a body."""
    clients = list(front.connections)
    return sum(bool(one._buffer) for one in clients), sum(one._body is not None for one in clients)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def stage(traffic: dict[str, int], serve: dict[str, Serve], **options: Any) -> AsyncIterator[Stage]:
    live = next(iter(traffic))
    state = EndpointState("natality", live, None, traffic=traffic, epoch=7)
    servers = {name: await asyncio.start_server(one, "127.0.0.1", 0) for name, one in serve.items()}
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    backends = {name: Backend(name, 1, f"http://127.0.0.1:{port}") for name, port in ports.items()}
    lost: list[str] = []
    fake: Any = SimpleNamespace(
        state=state,
        backends=backends,
        folder=SimpleNamespace(path="/here"),
        lost=lambda backend: lost.append(backend.version),
        to_json=lambda _: {"state": "ready", "restarts": 0},
        was_lost=lost,
    )
    app = RouterApp(fake, draw=random.Random(1))
    front = Front(app.answer, **options)
    server = await asyncio.get_running_loop().create_server(front.client, "127.0.0.1", 0)
    here = Stage(front, app, server.sockets[0].getsockname()[1], fake)
    try:
        yield here
    finally:
        server.close()
        for writer in here.writers:
            writer.transport.abort()
        await front.end(0.0)
        for backend in backends.values():
            backend.close()
        for one in servers.values():
            one.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert front.buffered == 0
        assert not front.connections


def test_requests_are_forwarded_and_counted() -> None:
    async def story() -> None:
        version = Version("v1")
        async with stage({"v1": 100}, {"v1": version.serve}) as here:
            status, headers, content = await here.ask(b'{"a": 1}')
            assert (status, headers["x-model-version"], json.loads(content)["body"]) == (200, "v1", '{"a": 1}')
            assert (await here.ask(b"", "/health", "HEAD"))[::2] == (200, b"")
            version.status = 422
            assert (await here.ask())[0] == 422
            version.status = 500
            assert (await here.ask())[0] == 500
            report = json.loads((await here.ask(b"", "/endpoint", "GET"))[2])
            assert (report["folder"], report["epoch"], report["traffic"]) == ("/here", 7, {"v1": 100})
            assert report["versions"]["v1"]["responses"] == {"2xx": 1, "3xx": 0, "4xx": 1, "5xx": 1}
            assert (report["versions"]["v1"]["requests"], report["versions"]["v1"]["errors"]) == (3, 1)
            assert counts_in(report) == here.app.counts
            metrics = (await here.ask(b"", "/metrics", "GET"))[2].decode()
            assert 'headrace_endpoint_requests_total{version="v1",status="2xx"} 1\n' in metrics
            assert (await here.ask(b"", "/metrics", "POST"))[0] == 405
            # One connection to the process serves them all.
            assert version.connections == 1

    asyncio.run(story())


def test_a_connection_with_several_requests_in_every_form() -> None:
    async def story() -> None:
        async with stage({"v1": 100}, {"v1": Version("v1").serve}) as here:
            reader, writer = await here.connect()
            one = b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\n\r\none"
            two = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
            # At once, as some clients do; and byte by byte.
            writer.write(one + two)
            assert json.loads((await _response(reader))[2])["body"] == "one"
            assert json.loads((await _response(reader))[2])["body"] == "two"
            for byte in two:
                writer.write(bytes([byte]))
                await writer.drain()
            assert json.loads((await _response(reader))[2])["body"] == "two"
            writer.write(b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"three")
            assert json.loads((await _response(reader))[2])["body"] == "three"
            # The end of the client's half is no end of the response.
            writer.write(one)
            writer.write_eof()
            assert json.loads((await _response(reader))[2])["body"] == "one"

    asyncio.run(story())


def test_messages_that_are_refused_end_the_connection() -> None:
    async def story() -> None:
        async with stage({"v1": 100}, {"v1": Version("v1").serve}) as here:
            for sent, status in (
                (b"nonsense\r\n\r\n", 400),
                (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
                (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000, 431),
            ):
                reader, writer = await here.connect()
                writer.write(sent)
                found, headers, content = await _response(reader)
                assert (found, headers["connection"], await reader.read()) == (status, "close", b""), sent[:40]
                assert "error" in json.loads(content)
                writer.close()

    asyncio.run(story())


def test_the_stable_version_answers_for_a_canary_that_does_not() -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.close()

    async def story() -> None:
        traffic = {"v1": 50, "v2": 50}
        async with stage(traffic, {"v1": Version("v1").serve, "v2": dies}) as here:
            for _ in range(2):
                answers = [await here.ask(json.dumps({"instances": [{"key": n}]}).encode()) for n in range(40)]
                assert {(status, headers["x-model-version"]) for status, headers, _ in answers} == {(200, "v1")}
                failed = here.app.counts["v2"].failed
                assert 10 < failed < 70
                # Its process is gone, and is being started again.
                here.fake.backends.pop("v2", None)
            assert here.app.counts["v1"].requests == 80
            assert here.app.counts["v2"].errors == failed
            assert set(here.fake.was_lost) == {"v2"}
            # A version that a path names is not replaced by another.
            status, headers, content = await here.ask(path="/v1/models/natality/versions/v2:predict")
            assert (status, headers["retry-after"]) == (503, "1")
            assert "v2 is being started" in json.loads(content)["error"]
            here.fake.backends.pop("v1").close()
            status, headers, _ = await here.ask(b'{"instances": [{"key": 0}]}')
            assert (status, headers["retry-after"]) == (503, "1")
            assert here.app.unavailable == 2

    asyncio.run(story())


def test_keys_and_headers_choose_the_version() -> None:
    async def story() -> None:
        versions = {name: Version(name) for name in ("v1", "v2")}
        async with stage({"v1": 80, "v2": 20}, {name: one.serve for name, one in versions.items()}) as here:

            async def of(**options: Any) -> str:
                return str((await here.ask(**options))[1]["x-model-version"])

            for key in range(20):
                body = json.dumps({"instances": [{"key": str(key)}]}).encode()
                by_body = await of(body=body)
                assert await of(body=body) == by_body
                assert await of(head=f"X-Headrace-Key: {key}\r\n") == by_body
            assert {await of(path="/v1/models/natality/versions/v2:predict") for _ in range(5)} == {"v2"}
            assert {await of(path="/health", method="GET") for _ in range(20)} == {"v1"}

    asyncio.run(story())


def test_a_connection_that_the_process_closed_meanwhile_costs_no_request() -> None:
    async def story() -> None:
        version = Version("v1")
        version.ends_after = True
        async with stage({"v1": 100}, {"v1": version.serve}) as here:
            for _ in range(20):
                assert (await here.ask())[0] == 200
            assert here.app.counts["v1"].failed == 0

    asyncio.run(story())


def test_a_hundred_switches_under_load_fail_no_request() -> None:
    async def story() -> None:
        async with stage({"v1": 100}, {name: Version(name).serve for name in ("v1", "v2")}) as here:
            # As the router finds and leaves processes: idle connections are closed, those in use are not.
            urls = {"v1": here.fake.backends["v1"].url, "v2": here.fake.backends.pop("v2").url}
            statuses: list[int] = []
            ended = asyncio.Event()

            async def client() -> None:
                reader, writer = await here.connect()
                while not ended.is_set():
                    writer.write(b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
                    statuses.append((await _response(reader))[0])

            clients = [asyncio.create_task(client()) for _ in range(16)]
            for number in range(100):
                version = ("v2", "v1")[number % 2]
                (before,) = here.fake.backends.values()
                here.fake.state = EndpointState("natality", version, None)
                here.fake.backends = {version: Backend(version, 1, urls[version])}
                before.close()
                sent = len(statuses)
                while len(statuses) < sent + 20:
                    await asyncio.sleep(0.001)
            ended.set()
            await asyncio.gather(*clients)
            for backend in here.fake.backends.values():
                backend.close()
            assert len(statuses) >= 2000
            assert set(statuses) == {200}
            assert sum(one.errors for one in here.app.counts.values()) == 0
            assert sum(one.requests for one in here.app.counts.values()) == len(statuses)

    asyncio.run(story())


def test_slow_clients_are_cut_and_shut_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        time = loop.time
        async with stage({"v1": 100}, {"v1": Version("v1").serve}, max_connections=60) as here:
            slow = [await here.connect() for _ in range(100)]
            for number, (_, writer) in enumerate(slow):
                writer.write(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx" if number % 2 else b"POST / HT")
            for _ in range(20):
                assert (await here.ask())[0] == 200
            assert len(here.front.connections) <= 60
            # All of them are late now.
            monkeypatch.setattr(loop, "time", lambda: time() + 2 * LONG_S)
            ends = [await reader.read() for reader, _ in slow]
            # Those beyond the maximum were closed at once, the others told why.
            told = [end for end in ends if end]
            assert 30 < len(told) < 61
            assert all(end.startswith(b"HTTP/1.1 408 Request Timeout\r\nconnection: close") for end in told)
            for _, writer in slow:
                writer.close()

    asyncio.run(story())


def test_headers_and_body_have_one_deadline_and_each_request_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        time, ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: time() + ahead)
        async with stage({"v1": 100}, {"v1": Version("v1").serve}) as here:
            reader, writer = await here.connect()
            for _ in range(3):
                writer.write(b"POST / HTTP/1.1\r\nContent-Le")
                await _until(lambda: _receiving(here.front) == (1, 0))
                ahead += 0.75 * LONG_S
                writer.write(b"ngth: 2\r\n\r\nx")
                await _until(lambda: _receiving(here.front) == (0, 1))
                writer.write(b"x")
                assert b'"body": "xx"' in await reader.readuntil(b"}")
            writer.write(b"POST / HTTP/1.1\r\nContent-Le")
            await _until(lambda: _receiving(here.front) == (1, 0))
            ahead += 0.75 * LONG_S
            writer.write(b"ngth: 2\r\n\r\nx")
            await _until(lambda: _receiving(here.front) == (0, 1))
            ahead += 0.75 * LONG_S
            assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\nconnection: close")

    asyncio.run(story())


def test_the_end_answers_what_is_under_way_and_closes_what_is_idle() -> None:
    async def story() -> None:
        version = Version("v1")
        async with stage({"v1": 100}, {"v1": version.serve}) as here:
            idle = await here.connect()
            version.hold = asyncio.Event()
            busy = await here.connect()
            busy[1].write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            while not version.seen:
                await asyncio.sleep(0.01)
            ending = asyncio.create_task(here.front.end(LONG_S))
            assert await idle[0].read() == b""
            version.hold.set()
            status, headers, _ = await _response(busy[0])
            assert (status, headers["connection"], await busy[0].read()) == (200, "close", b"")
            await ending

    asyncio.run(story())


def test_restarts_wait_longer_each_time_and_not_for_ever() -> None:
    restarts, now, pauses = Restarts(), 1000.0, []
    for _ in range(10):
        restarts.next_start(now)
        pauses.append(restarts.not_before - now)
        now = restarts.not_before
    assert pauses == [0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    restarts.next_start(now + 121.0)
    assert (restarts.not_before - now - 121.0, restarts.number) == (0.5, 11)
