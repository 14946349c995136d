"""A proxy in front of a real prediction server that answers some requests in ways that servers and networks fail."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request, as the proxy saw it.

    Attributes:
        number: of the predict requests, from 0; -1 for others.
        rows: that it asks about.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    number: int

    @property
    def rows(self) -> int:
        return len(self.instances)

    @property
    def instances(self) -> list[dict[str, Any]]:
        given: list[dict[str, Any]] = json.loads(self.body)["instances"]
        return given


@dataclass
class Answer:
    """What the proxy answers; `cut` closes the connection in the middle of it."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Fault = Callable[[Asked], Answer | None]
Change = Callable[[Asked, Answer], Answer]


class Proxy:
    """The proxy, and what it has seen.

    Attributes:
        url: of the proxy.
        fault: called for each request before the server is asked: its answer, or None to ask.
        change: called with what the server answered.
        asked: all requests.
        most: that were under way at once.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.url = ""
        self.reset()
        self._under_way = 0
        self._lock = threading.Lock()

    def reset(self) -> None:
        """As if nothing had been asked."""
        self.fault: Fault = lambda _: None
        self.change: Change = lambda _, answer: answer
        self.asked: list[Asked] = []
        self.most = 0

    @property
    def predictions(self) -> list[Asked]:
        """The requests for predictions."""
        return [asked for asked in self.asked if asked.number >= 0]

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            asked = Asked(method, path, headers, body, len(self.predictions) if method == "POST" else -1)
            self.asked.append(asked)
        try:
            return self.fault(asked) or self.change(asked, self._forward(asked))
        finally:
            with self._lock:
                self._under_way -= 1

    def _forward(self, asked: Asked) -> Answer:
        # Vertex's addresses are not the container's.
        path = asked.path if asked.path.startswith("/v1/models/") else "/predict"
        connection = http.client.HTTPConnection(self.upstream, timeout=600)
        try:
            connection.request(asked.method, path, asked.body or None)
            response = connection.getresponse()
            body = response.read()
            kept = ("x-model-version", "retry-after")
            return Answer(response.status, body, {n: v for n, v in response.getheaders() if n in kept})
        finally:
            connection.close()


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy in front of the server at `upstream`."""
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes, between which Nagle's algorithm would wait for the client.
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = proxy.answer(self.command, self.path, headers, body)
            try:
                self.send_response(answer.status)
                for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
            except OSError:
                # Whoever asked no longer waits.
                self.close_connection = True
            if answer.cut:
                self.close_connection = True

        do_GET = do_POST = _handle  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
