"""The router under attack from both sides: hostile bytes of clients, and versions that answer with anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import pytest
from support.hostile_cases import cases, chunk_lines, framing, heads, targets
from support.hostile_http import GOOD, Case, played, post
from support.http_server import Served
from support.serving import dynamic, load

from headrace.components.deploy.local.router import app as app_module
from headrace.components.deploy.local.router import backend as backend_module
from headrace.components.deploy.local.router.app import RouterApp
from headrace.components.deploy.local.router.backend import Backend
from headrace.components.deploy.local.router.front import Front
from headrace.components.deploy.state import EndpointState

GOOD_CASE = Case("a good request", post(GOOD), (200,), "open")
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


class Stage:
    """A router in front of servers in this process, by version; the first one is live."""

    def __init__(self, ports: dict[str, int]) -> None:
        live = next(iter(ports))
        share = 100 // len(ports)
        self.state = EndpointState("natality", live, None, traffic=dict.fromkeys(ports, share))
        self.backends = {version: Backend(version, 1, f"http://127.0.0.1:{port}") for version, port in ports.items()}
        self.app = RouterApp(self)  # type: ignore[arg-type]
        self.front = Front(self.app.answer)
        self.port = 0

    def lost(self, backend: Backend) -> None:
        """The process still runs, as one that misbehaves may."""

    async def __aenter__(self) -> Stage:
        self._server = await asyncio.get_running_loop().create_server(self.front.client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.front.end(0.0)
        for backend in self.backends.values():
            assert backend.in_flight == 0
            backend.close()
        # Those of the servers end with their connections.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)
        assert self.front.buffered == 0

    async def play(self, case: Case) -> list[int]:
        """The statuses that a client gets."""
        return await asyncio.to_thread(played, self.port, case)


def test_hostile_bytes_get_4xx_from_a_router_before_a_server(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    served = Served(dynamic(load(make_model(tmp_path / "model", "v1"))))

    async def story() -> None:
        async with Stage({"v1": served.port}) as stage:
            for case in (one.of_router() for one in cases()):
                assert (case.name, await stage.play(case)) == (case.name, list(case.statuses))
                assert (case.name, await stage.play(GOOD_CASE)) == (case.name, [200])

    try:
        asyncio.run(story())
    finally:
        served.stop()
        served.join()


async def closed(writer: Writer) -> None:
    """Closes a connection, and waits for its end."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Recorder:
    """A server that another parser than the router's reads for, strictly."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.errors: list[Exception] = []

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answers one connection."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        try:
            while not isinstance(event := connection.next_event(), h11.ConnectionClosed):
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(1 << 16))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.EndOfMessage):
                    self.seen.append((request.method, request.target))
                    status = 404 if request.target == b"/last-of-all" else 200
                    head = h11.Response(status_code=status, headers=[("content-length", "0")])
                    writer.write((connection.send(head) or b"") + (connection.send(h11.EndOfMessage()) or b""))
                    connection.start_next_cycle()
        except (h11.ProtocolError, ConnectionError) as error:
            self.errors.append(error)
        await closed(writer)


def test_what_is_forwarded_is_what_was_read() -> None:
    async def story() -> None:
        recorder = Recorder()
        server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
        async with Stage({"v1": server.sockets[0].getsockname()[1]}) as stage:
            for case in (one.of_router() for one in (*framing(), *chunk_lines(), *heads(), *targets())):
                recorder.seen.clear()
                found = await stage.play(case)
                assert (case.name, len(found)) == (case.name, len(case.statuses))
                # Each response that is not the router's own is to one request, and no request is without one.
                more = [404] if case.then == "open" else []
                assert (case.name, len(recorder.seen)) == (case.name, sum(s in (200, 404) for s in found + more))
                assert (case.name, recorder.errors) == (case.name, [])
                assert all(target.startswith(b"/") for _, target in recorder.seen)
        server.close()

    asyncio.run(story())


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
# What a version answers, and whether it then keeps the connection open.
WRONG: dict[str, tuple[bytes, bool]] = {
    "nothing": (b"", False),
    "half a status line": (b"HTTP/1.1 2", False),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", False),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", False),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{}", False),
    "no last chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
    "text": (b"hello\r\n\r\n", True),
    "NUL": (b"\0" * 100_000, True),
    "TLS": (b"\x15\x03\x01\0\2\2\x50\r\n\r\n", True),
    "HTTP/2": (b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n", True),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", True),
    "a status of 999": (b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", True),
    "an interim response": (b"HTTP/1.1 100 Continue\r\n\r\n", True),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + OK, True),
    "two responses": (OK + OK, True),
    "bytes after the body": (OK + b"x", True),
    "a body of 204": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", True),
    "bytes after no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + OK, True),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", True),
    "a length of -1": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", True),
    "a length of 2^60": (b"HTTP/1.1 200 OK\r\nContent-Length: 1152921504606846976\r\n\r\n{}", True),
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        True,
    ),
    "a wrong chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", True),
    "a folded header": (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", True),
    "a line in a header": (b"HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c\r\nContent-Length: 0\r\n\r\n", True),
    "10,000 headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", True),
    "a header of 1 MB": (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\n", True),
    "a header without end": (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000, True),
    "a body that is too large": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000, True),
}


class Misbehaving:
    """A version that answers with given bytes once, and after that as it should."""

    def __init__(self, answer: bytes, keeps: bool) -> None:
        self.answer, self.keeps = answer, keeps
        self.asked = 0
        self.closed = asyncio.Event()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answers one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                self.asked += 1
                if self.asked > 1:
                    writer.write(OK)
                    continue
                writer.write(self.answer)
                await writer.drain()
                if not self.keeps:
                    break
        await closed(writer)
        self.closed.set()


@pytest.mark.parametrize("name", WRONG)
def test_a_version_that_answers_with_anything_is_502_and_hurts_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_MAX_RESPONSE_BYTES", 1 << 20)

    async def story() -> None:
        wrong, right = Misbehaving(*WRONG[name]), Misbehaving(OK, keeps=True)
        servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in (right, wrong)]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        async with Stage({"v1": ports[0], "v2": ports[1]}) as stage:

            def ask(version: str) -> Any:
                path = b"/v1/models/natality/versions/%s:predict" % version.encode()
                return stage.play(Case(version, post(GOOD, b"Connection: close", path=path), (200,)))

            assert await asyncio.gather(ask("v2"), ask("v1")) == [[502], [200]]
            # Nothing of what came is the beginning of a later response.
            await wrong.closed.wait()
            assert [await ask("v2") for _ in range(3)] == [[200]] * 3
            assert [await ask("v1") for _ in range(3)] == [[200]] * 3
            assert (wrong.asked, right.asked) == (4, 4)
            assert (stage.app.counts["v2"].failed, stage.app.counts["v1"].failed) == (1, 0)
        for server in servers:
            server.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
)
def test_a_version_that_never_ends_its_answer_is_504(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_TIMEOUT_S", 0.2)

    async def story() -> None:
        silent = Misbehaving(sent, keeps=True)
        server = await asyncio.start_server(silent.serve, "127.0.0.1", 0)
        async with Stage({"v1": server.sockets[0].getsockname()[1]}) as stage:
            request = Case("", post(GOOD, b"Connection: close"), (504,))
            assert await stage.play(request) == [504]
            # Its connection is not used again: what may still come on it is no other request's.
            assert not stage.backends["v1"]._idle
            silent.asked = 1
            monkeypatch.setattr(app_module, "_TIMEOUT_S", 60.0)
            assert await stage.play(request) == [200]
        server.close()

    asyncio.run(story())


def test_a_version_that_does_not_listen_is_503() -> None:
    async def story() -> None:
        server = await asyncio.start_server(Misbehaving(OK, keeps=True).serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with Stage({"v1": port}) as stage:
            assert await stage.play(Case("", post(GOOD, b"Connection: close"), (503,))) == [503]

    asyncio.run(story())
