"""Slow, hostile and impatient clients on real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.http_server import Served
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headrace.components.serve.http import server
from headrace.components.serve.http.connection import ServerConnection
from headrace.components.serve.http.connections import Connections
from headrace.components.serve.limits import Limits
from headrace.components.serve.modes.answerer import Answer, Description, RowsRequest
from headrace.core.saved_model.json.columns import Interface

BODY = json.dumps({"instances": [{"x": 1}]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Echo:
    """An answerer that returns the number of rows, once `go_on` is set."""

    together = True
    description = Description("m", "v1", "dynamic", Interface(()), "serving_default", {"outputs": {"y": {}}})

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.begun = threading.Semaphore(0)

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        self.begun.release()
        assert self.go_on.wait(600)
        return [Answer({"y": np.full(request.rows, 1.0)}, "v1", bare=True) for request in requests]


class EchoServed(Served):
    def __init__(self, echo: Echo, limits: Limits) -> None:
        super().__init__(echo, limits)
        self.echo = echo

    def waiting(self, kind: str) -> int:
        """The number of connections whose head, body or reading is waited for."""
        waiting = self.server._connections._waiting
        if kind in ("head", "body"):
            return sum(connection._phase == kind for connection in list(waiting["arrival"]))
        return len(waiting[kind])


@contextmanager
def serving(**limits: Any) -> Iterator[EchoServed]:
    echo = Echo()
    served = EchoServed(echo, Limits(**limits))
    try:
        yield served
    finally:
        echo.go_on.set()
        served.stop()
        served.join()


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


# No test gets near it by itself, however busy the machine is: the server's clock is set.
LONG_S = 3600.0


@pytest.mark.parametrize(
    ("sent", "waits", "message"),
    [
        (b"", "head", b"the headers did not arrive within 3600 s"),
        (b"POST /predict HTTP/1.1\r\nHos", "head", b"the headers did not arrive within 3600 s"),
        (HEAD % 100 + b"{", "body", b"the body did not arrive within 3600 s"),
    ],
)
def test_what_is_not_whole_in_time_is_cut(sent: bytes, waits: str, message: bytes) -> None:
    with serving(arrival_time_s=LONG_S) as served:
        with closing(served.connect()) as client:
            client.sendall(sent)
            until(lambda: served.waiting(waits) == 1)
            served.pass_time(2 * LONG_S)
            answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
        assert b"connection: close" in answer
        assert message in answer
        assert served.ask(BODY) == 200


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (
            b"GET /health HTTP/1.1\r\nx: " + b"y" * 5000,
            b"431 Request Header Fields Too Large",
            b"the headers are too large. Expected at most 4096 bytes.",
        ),
        (
            b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200,
            b"413 Request Entity Too Large",
            b"the body has too many pieces. Expected at most 100 chunks.",
        ),
        (
            b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 2000,
            b"431 Request Header Fields Too Large",
            b"the headers are too large. Expected at most 4096 bytes.",
        ),
        (b"hello\r\n\r\n", b"400 Bad Request", b"the request is not valid HTTP"),
        (
            b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            b"400 Bad Request",
            b"the request is not valid HTTP",
        ),
    ],
)
def test_what_is_not_a_whole_small_request_is_cut(sent: bytes, status: bytes, message: bytes) -> None:
    with serving(arrival_time_s=LONG_S, max_head_bytes=4096, max_pieces=100) as served:
        with closing(served.connect()) as client:
            client.sendall(sent)
            answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close" in answer
        assert message in answer
        assert served.ask(BODY) == 200


def test_bytes_do_not_extend_a_deadline() -> None:
    with serving(arrival_time_s=LONG_S) as served, closing(served.connect()) as client:
        client.sendall(HEAD % 100_000)
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
            for number in range(30_000):
                client.sendall(b" ")
                time.sleep(0.02)
                if number < 25:
                    # No byte comes later than a fifth of the time after the one before it.
                    served.pass_time(LONG_S / 5)


def test_headers_and_body_have_one_deadline() -> None:
    with serving(arrival_time_s=LONG_S) as served, closing(served.connect()) as client:
        client.sendall(HEAD[:20])
        until(lambda: served.waiting("head") == 1)
        served.pass_time(0.75 * LONG_S)
        client.sendall(HEAD[20:] % 100 + b"{")
        until(lambda: served.waiting("body") == 1)
        assert served.ask(BODY) == 200
        served.pass_time(0.75 * LONG_S)
        assert b"the body did not arrive within 3600 s" in read_all(client)


def test_a_body_that_comes_byte_by_byte_wakes_the_application_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    receive = RequestResponseCycle.receive

    async def counted(cycle: RequestResponseCycle) -> Any:
        message = await receive(cycle)
        pieces.append(len(message["body"]))
        return message

    monkeypatch.setattr(RequestResponseCycle, "receive", counted)
    with serving() as served:
        with closing(served.connect()) as client:
            client.sendall(HEAD % len(BODY))
            for byte in BODY:
                client.sendall(bytes([byte]))
                time.sleep(0.001)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert pieces == [len(BODY)]
        # A large one is handed over in parts, so that one that is too large is refused before its end.
        with closing(served.connect()) as client:
            client.sendall(HEAD % (1 << 20) + BODY + b" " * (1 << 15))
            sent = len(BODY) + (1 << 15)
            while len(pieces) == 1:
                client.sendall(b" ")
                sent += 1
            client.sendall(b" " * ((1 << 20) - sent))
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert sum(pieces[1:]) == 1 << 20


def test_each_request_of_a_connection_has_a_deadline_of_its_own() -> None:
    with serving(arrival_time_s=LONG_S) as served, closing(served.connect()) as client:
        request = HEAD % len(BODY) + BODY
        client.sendall(request[:-1])
        until(lambda: served.waiting("body") == 1)
        for at in range(1, 5):
            served.pass_time(0.75 * LONG_S)
            # The end of a request and the head of the next one, with a part of its body, in one packet.
            client.sendall(request[-1:] + request[:-1])
            assert served.echo.begun.acquire(timeout=600), at
            until(lambda: served.waiting("body") == 1)
        client.sendall(request[-1:] + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_all(client).count(b"200 OK") == 6
        assert served.cut() == []


def test_a_client_that_does_not_read_its_response_is_cut() -> None:
    with serving(arrival_time_s=LONG_S, max_instances=2_000_000) as served, closing(served.connect()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b'{"instances":[' + b"1," * 1_400_000 + b"1]}"
        client.sendall(HEAD % len(body) + body)
        assert served.echo.begun.acquire(timeout=600)
        until(lambda: served.waiting("writing") == 1)
        served.pass_time(2 * LONG_S)
        until(served.cut)
        assert served.cut() == ['headrace_cut_connections_total{reason="the response was not read"} 1']


EXPECT = b"POST /predict HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("before", [b"", HEAD % len(BODY) + BODY])
def test_a_request_begins_when_it_is_whole_or_may_be_refused_before(before: bytes) -> None:
    with serving() as served, ExitStack() as clients:
        slow, large, asks = (clients.enter_context(closing(served.connect())) for _ in range(3))
        tasks = served.server.server_state.tasks

        def answer(client: socket.socket, whole: Callable[[bytes], bool]) -> bytes:
            """What comes after the response to the request before."""
            got = b""
            while before and not got.endswith(b"[1.0]}"):
                got += client.recv(1)
            got = b""
            while not whole(got):
                got += client.recv(1 << 16)
            return got

        slow.sendall(before + HEAD % len(BODY) + BODY[:-1])
        until(lambda: served.waiting("body") == 1)
        until(lambda: not tasks)
        slow.sendall(BODY[-1:])
        assert answer(slow, lambda got: got.endswith(b"[1.0]}")).startswith(b"HTTP/1.1 200")
        # Its body never comes.
        large.sendall(before + HEAD % (1 << 30))
        assert answer(large, lambda got: got.endswith(b"}")).startswith(b"HTTP/1.1 413")
        asks.sendall(before + EXPECT % len(BODY))
        assert answer(asks, bool) == b"HTTP/1.1 100 Continue\r\n\r\n"
        asks.sendall(BODY)
        assert asks.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_closed_connection_whose_client_reads_nothing_is_given_up() -> None:
    with (
        serving(arrival_time_s=LONG_S, keep_alive_s=LONG_S, max_instances=2_000_000) as served,
        closing(served.connect()) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b'{"instances":[' + b"1," * 1_400_000 + b"1]}"
        client.sendall(HEAD % len(body) + body)
        until(lambda: served.waiting("writing") == 1)
        (connection,) = served.server.server_state.connections
        until(lambda: connection._phase == "idle")  # type: ignore[union-attr]
        served.pass_time(2 * LONG_S / 3)
        # Its idle time ends.
        connection.loop.call_soon_threadsafe(connection.timeout_keep_alive_handler)  # type: ignore[union-attr]
        until(lambda: served.waiting("closing") == 1)
        assert served.server._connections.open == 1
        served.pass_time(6)
        until(lambda: served.server._connections.open == 0)
        assert served.cut() == []


WHOLE = HEAD % len(BODY) + BODY


@pytest.mark.parametrize(
    ("sent", "late", "ends"),
    [
        (b"", False, False),
        (b"POST /predict HTTP/1.1\r\nHos", False, False),
        (b"POST /predict HTTP/1.1\r\nHos", True, True),
        (HEAD % 100 + b"{", False, False),
        (HEAD % 100 + b"{", True, True),
        (b"hello\r\n\r\n", False, True),
        (WHOLE, False, False),
        (WHOLE + WHOLE[:30], False, False),
        (WHOLE * 3, False, False),
        (HEAD % 3 + b"{,}" + WHOLE, False, False),
        (b"GET /none HTTP/1.1\r\nConnection: close\r\n\r\n", False, True),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200, False, True),
    ],
)
def test_a_closed_connection_is_freed_without_a_collection(sent: bytes, late: bool, ends: bool) -> None:
    """Full collections stop all requests, so that they are rare: what they alone would free would pile up."""
    kinds = (ServerConnection, RequestResponseCycle)

    def left() -> list[object]:
        return [one for one in gc.get_objects() if isinstance(one, kinds)]

    with serving(arrival_time_s=LONG_S, max_pieces=100) as served:
        gc.collect()
        before = len(left())
        gc.disable()
        try:
            for _ in range(3):
                with closing(served.connect()) as client:
                    client.sendall(sent)
                    if late:
                        until(lambda: sum(map(len, served.server._connections._waiting.values())) == 1)
                        served.pass_time(2 * LONG_S)
                    if ends:
                        read_all(client)
                    elif sent.startswith(WHOLE):
                        assert client.recv(1) == b"H"
            until(lambda: len(left()) == before)
        finally:
            gc.enable()


def test_slow_clients_do_not_keep_others_out() -> None:
    with serving(max_connections=40, arrival_time_s=LONG_S) as served, ExitStack() as clients:
        for number in range(200):
            client = clients.enter_context(closing(served.connect()))
            client.sendall(b"POST /predict HT" if number % 2 else HEAD % 1000 + b"{")
            if number % 20 == 0:
                assert served.ask(BODY) == 200
        assert served.ask(BODY) == 200
        (line,) = served.cut()
        assert line.startswith('headrace_cut_connections_total{reason="too many connections"} ')


def test_a_thousand_slow_clients_are_cut_in_time_while_others_are_answered() -> None:
    # Only whole requests take one of the two places.
    with serving(arrival_time_s=LONG_S, max_waiting=1, max_running=1) as served, ExitStack() as clients:
        slow = []
        for number in range(1000):
            slow.append(clients.enter_context(closing(served.connect())))
            slow[-1].sendall(b"POST /predict HT" if number % 2 else HEAD % 1000 + b"{")
        until(lambda: (served.waiting("head"), served.waiting("body")) == (500, 500))
        served.pass_time(2 * LONG_S)
        statuses = [served.ask(BODY) for _ in range(50)]
        for client in slow:
            assert read_all(client).startswith(b"HTTP/1.1 408")
        assert statuses == [200] * 50
        assert sum(int(line.rpartition(" ")[2]) for line in served.cut()) == 1000


def test_a_thousand_that_are_late_at_once_are_cut_over_several_turns() -> None:
    class Late:
        missing = "headers"

        def cut(self, status: int, message: str, *, at_once: bool) -> None:
            cuts.append((status, message, at_once))

    async def run() -> None:
        connections = Connections(Limits(arrival_time_s=1.0))
        connections.open = 1000
        now = asyncio.get_running_loop().time()
        for _ in range(1000):
            connections._waiting["arrival"][Late()] = now - 5.0  # type: ignore[index]
        connections._check()
        assert len(cuts) == 32
        while len(cuts) < 1000:
            before = len(cuts)
            await asyncio.sleep(0)
            assert len(cuts) - before <= 32
        assert not connections._waiting["arrival"]

    cuts: list[tuple[int, str, bool]] = []
    asyncio.run(asyncio.wait_for(run(), 600))
    assert set(cuts) == {(408, "the headers did not arrive within 1 s", False)}


def test_many_that_came_at_once_are_cut_evenly_in_the_second_half_of_their_time() -> None:
    def cut(number: int) -> list[float]:
        """The times at which so many connections, which came at 0 and have 10 s, are cut; looked at every 20 ms."""
        connections = Connections(Limits(arrival_time_s=10.0))
        arriving: dict[Any, float] = connections._waiting["arrival"]  # type: ignore[assignment]
        arriving.update({object(): 0.0 for _ in range(number)})
        times = []
        for look in range(600):
            found = list(islice(connections._late(look / 50), 32))
            assert all(seconds == (10.0 if look >= 500 else 5.0) for _, _, seconds in found)
            for connection, kind, _ in found:
                assert kind == "arrival"
                del arriving[connection]
                times.append(look / 50)
        assert not arriving
        return times

    times = cut(1000)
    early = [time for time in times if time < 10.0]
    assert 750 <= len(early) < 755
    by_half_second = Counter(int(2 * time) for time in early)
    assert min(early) == 5.0
    assert all(95 <= by_half_second[half_second] <= 105 for half_second in range(10, 17))
    assert max(Counter(early).values()) <= 5
    # Few are not cut early.
    assert min(cut(250)) == 10.0
    assert sorted(cut(251))[:2] == [5.0, 10.0]


def test_requests_of_one_connection_are_answered_in_order() -> None:
    with serving() as served, closing(served.connect()) as client:
        client.sendall((HEAD % len(BODY) + BODY) * 3 + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = read_all(client)
        assert answer.count(b"200 OK") == 4
        assert answer.count(b'{"predictions":[1.0]}') == 3
        assert answer.endswith(b'{"status":"ok","model":"m","model_version":"v1"}')


@pytest.mark.parametrize("rest", [b"hello\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
@pytest.mark.parametrize("whole", [1, 3])
def test_whole_requests_before_what_is_not_http_are_answered(rest: bytes, whole: int) -> None:
    with serving() as served, closing(served.connect()) as client:
        served.echo.go_on.clear()
        client.sendall((HEAD % len(BODY) + BODY) * whole + rest)
        assert served.echo.begun.acquire(timeout=600)
        # It arrives while they are answered, and is not read any more.
        client.sendall(HEAD % len(BODY) + BODY)
        served.echo.go_on.set()
        answer = read_all(client)
        assert answer.count(b"200 OK") == whole
        assert answer.count(b'{"predictions":[1.0]}') == whole
        assert answer.endswith(b'{"error":"the request is not valid HTTP"}')
        assert served.cut() == ['headrace_cut_connections_total{reason="not HTTP"} 1']
        assert served.ask(BODY) == 200


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_the_body_of_a_request_for_another_protocol_is_its_body(protocol: bytes) -> None:
    with serving() as served, closing(served.connect()) as client:
        wish = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\nExpect: 100-continue\r\n\r\n"
        client.sendall((HEAD % len(BODY)).removesuffix(b"\r\n") + wish)
        # The body comes in a later packet than the head.
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        client.sendall(BODY + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = read_all(client)
        assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"HTTP/1.1") == 2
        assert answer.count(b'{"predictions":[1.0]}') == 1


@pytest.mark.parametrize("before", [0, 2])
def test_headers_that_are_too_large_in_one_packet_are_refused_after_what_came_before(before: int) -> None:
    with serving(max_head_bytes=4096) as served, closing(served.connect()) as client:
        client.sendall((HEAD % len(BODY) + BODY) * before + b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n")
        answer = read_all(client)
        assert answer.count(b"200 OK") == before
        assert answer.count(b"431 Request Header Fields Too Large") == 1
        assert answer.endswith(b'{"error":"the headers are too large. Expected at most 4096 bytes."}')
        assert served.cut() == ['headrace_cut_connections_total{reason="the headers are too large"} 1']


def test_an_abandoned_request_leaves_the_queue() -> None:
    with serving(max_running=1, max_waiting=1) as served:
        served.echo.go_on.clear()
        first = threading.Thread(target=lambda: served.ask(BODY))
        first.start()
        assert served.echo.begun.acquire(timeout=600)
        with closing(served.connect()) as client:
            client.sendall(HEAD % len(BODY) + BODY)
            until(lambda: served.app.batcher.waiting == 1)
        statuses: list[int] = []
        second = threading.Thread(target=lambda: statuses.append(served.ask(BODY)))
        until(lambda: served.server._connections.open == 1)
        second.start()
        until(lambda: served.server._connections.open == 2)
        served.echo.go_on.set()
        first.join()
        second.join()
        assert statuses == [200]
        until(lambda: not served.server.server_state.tasks)


def test_at_the_end_each_response_says_close_and_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    grace, over = threading.Event(), threading.Event()

    def monotonic() -> float:
        """A clock that stands from the first look, when the grace for idle connections begins, until `over`."""
        grace.set()
        return 1.0 if over.is_set() else 0.0

    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=monotonic))
    with serving() as served, ExitStack() as stack:
        idle, late, slow = (stack.enter_context(closing(served.connect())) for _ in range(3))
        for client in (idle, late):
            client.sendall(HEAD % len(BODY) + BODY)
            answer = b""
            while not answer.endswith(b"[1.0]}"):
                answer += client.recv(4096)
            assert b"connection: close" not in answer
        slow.sendall(HEAD % len(BODY) + BODY[:5])
        served.echo.go_on.clear()
        while served.echo.begun.acquire(blocking=False):
            pass
        served.stop()
        until(lambda: served.app.draining)
        slow.sendall(BODY[5:])
        late.sendall(HEAD % len(BODY) + BODY)
        assert served.echo.begun.acquire(timeout=600)
        until(lambda: (served.waiting("idle"), served.waiting("body")) == (1, 0))
        until(grace.is_set)
        over.set()
        served.echo.go_on.set()
        for client in (slow, late):
            answer = read_all(client)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"connection: close" in answer
        assert read_all(idle) == b""
        served.join()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
