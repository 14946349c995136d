"""Hostile HTTP: requests as raw bytes that a port may meet, with the statuses of the responses to them.

A case is data. `played` plays one on a connection of its own and returns all final statuses that came, so a response to
bytes that should have been the body of another request is seen. Nothing depends on time: a case ends with a request
whose response is the last one, with the end of the client's half, or with the server's closing.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

ROW = {"key": "a", "mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}
GOOD = json.dumps({"instances": [ROW]}).encode()
# The response to the last request of a connection that stays open.
_LAST = b"GET /last-of-all HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_LAST_STATUS = 404
TIMEOUT_S = 60.0

Then = Literal["open", "closed", "cut short"]


@dataclass(frozen=True)
class Case:
    """What is sent, and what must come.

    Attributes:
        name: of the case.
        sent: all bytes.
        statuses: of the final responses, in order.
        then: whether the connection stays open, is closed by the server, or is ended by the client within a request.
        router: statuses of the router where it differs from the server.
        router_then: as `then`, where the router differs.
    """

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    then: Then = "closed"
    router: tuple[int, ...] | None = None
    router_then: Then | None = None

    def of_router(self) -> Case:
        """The case as the router is to answer it."""
        statuses = self.statuses if self.router is None else self.router
        return Case(self.name, self.sent, statuses, self.router_then or self.then)


def post(body: bytes, *headers: bytes, path: bytes = b"/predict", length: bytes | None = None) -> bytes:
    """A predict request with more headers."""
    said = str(len(body)).encode() if length is None else length
    lines = [b"POST %s HTTP/1.1" % path, b"Host: a", *headers, b"Content-Length: " + said]
    return b"\r\n".join([*lines, b"", body])


def chunked(body: bytes, *headers: bytes) -> bytes:
    """A predict request whose chunks are in `body`, to the end."""
    return b"\r\n".join([b"POST /predict HTTP/1.1", b"Host: a", *headers, b"Transfer-Encoding: chunked", b"", body])


def get(target: bytes = b"/health", *headers: bytes, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    """A request without a body."""
    return b"\r\n".join([b"%s %s %s" % (method, target, version), b"Host: a", *headers, b"", b""])


def chunks(body: bytes) -> bytes:
    """A body as one chunk with its end."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def played(port: int, case: Case) -> list[int]:
    """Plays a case on a new connection, and returns the statuses of all final responses to it.

    Raises:
        AssertionError: what came is no sequence of whole responses.
        TimeoutError: the server neither answers nor closes within its own limits.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
        # A server may refuse and close before it has read all.
        with suppress(ConnectionError):
            client.sendall(case.sent + (_LAST if case.then == "open" else b""))
            if case.then == "cut short":
                client.shutdown(socket.SHUT_WR)
        received = bytearray()
        with suppress(ConnectionError):
            while piece := client.recv(1 << 16):
                received += piece
    found = statuses(bytes(received), head=case.sent.startswith(b"HEAD"))
    if case.then != "open":
        return found
    assert found[-1:] == [_LAST_STATUS], (case.name, found)
    return found[:-1]


def statuses(received: bytes, *, head: bool = False) -> list[int]:
    """The statuses of the final responses in bytes; each must be whole, and framed by Content-Length."""
    found: list[int] = []
    while received:
        block, end, received = received.partition(b"\r\n\r\n")
        assert end, block[:200]
        first, *lines = block.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first[:200]
        status = int(first[9:12])
        if status == 100:
            continue
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        length = 0 if head else int(headers[b"content-length"])
        assert len(received) >= length, block[:200]
        received = received[length:]
        found.append(status)
    return found
