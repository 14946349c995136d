"""Open-loop client: requests at a constant rate, whose latency counts from the moment when each was due.

Usage: python benchmarks/open_loop.py URL BODIES RATE SECONDS [CONNECTIONS]

A client that sends the next request when the last one is answered waits with a slow server, and then measures few slow
requests (coordinated omission). This one sends by the clock. A request that finds no free connection waits in the
client, and its waiting counts. The last line is a JSON object.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

# Requests that are not answered so long after the last one was due have failed.
_PATIENCE_S = 10.0
_CLOSED = -1
_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_LAST_CHUNK = b"0\r\n\r\n"


class Connection:
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("address", "buffer", "busy", "due", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.address, self.busy, self.due = address, False, 0.0
        self.connect()

    def connect(self) -> None:
        """Connects, again where the server closed the connection."""
        self.socket = socket.create_connection(self.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = b""

    def send(self, request: bytes, due: float) -> None:
        """Sends a request, which is smaller than the socket's buffer; a closed connection is seen when it is read."""
        self.due, self.busy, self.buffer = due, True, b""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(request)

    def receive(self) -> int:
        """The status of the response once it is whole; 0 before.

        Raises:
            ConnectionError: the server closed the connection.
        """
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed a connection")
        self.buffer += received
        head, end, body = self.buffer.partition(_END)
        if not end:
            return 0
        length = head.lower().partition(_LENGTH)[2].partition(b"\r")[0]
        whole = len(body) >= int(length) if length else body.endswith(_LAST_CHUNK)
        return int(head[9:12]) if whole else 0


def run(url: str, bodies: list[bytes], rate: float, seconds: float, connections: int) -> dict[str, float]:
    """Sends requests at a constant rate.

    Returns:
        `sent`, `failed` (without status 200), `late` (requests that waited for a free connection), and `p50`, `p99`
        and `p999` of the latency in seconds.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    address = (str(parts.hostname), int(parts.port or 80))
    selector = selectors.EpollSelector()
    free = deque(Connection(address) for _ in range(connections))
    for one in free:
        selector.register(one.socket, selectors.EVENT_READ, one)
    total, sent, answered, failed, late = int(rate * seconds), 0, 0, 0, 0
    latencies: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds + _PATIENCE_S
    while answered < total and (now := time.perf_counter()) < end:
        while sent < total and (due := begin + sent / rate) <= now and free:
            late += now - due > 0.001
            free.popleft().send(requests[sent % len(requests)], due)
            sent += 1
        ahead = begin + sent / rate - time.perf_counter() if sent < total and free else 0.05
        for key, _ in selector.select(max(0.0, ahead)):
            connection = key.data
            try:
                status = connection.receive()
            except ConnectionError:
                # An idle connection may be closed at any time; a request that was sent has failed.
                selector.unregister(connection.socket)
                connection.socket.close()
                connection.connect()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                status = _CLOSED if connection.busy else 0
            if status:
                connection.busy = False
                answered += 1
                failed += status != 200
                latencies.append(time.perf_counter() - connection.due)
                free.append(connection)
    # What has no answer at the end is as late as it can be.
    failed += total - answered
    latencies += [end - begin] * (total - answered)
    latencies.sort()
    found = {name: latencies[int(part * (total - 1))] for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
    return {"sent": sent, "failed": failed, "late": late, **found}


def main() -> int:
    url, bodies, rate, seconds, *rest = sys.argv[1:]
    lines = Path(bodies).read_bytes().splitlines()
    print(json.dumps(run(url, lines, float(rate), float(seconds), int(rest[0]) if rest else 256)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
