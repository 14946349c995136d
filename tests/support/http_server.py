"""The server on a real socket, in a thread of the test."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from contextlib import closing
from typing import Any

import uvloop

from headrace.components.serve.app import ServerApp
from headrace.components.serve.http.server import HttpServer
from headrace.components.serve.limits import Limits


class Served:
    """A server in a thread, with an answerer.

    Args:
        answerer: it answers.
        limits: of the server.
    """

    def __init__(self, answerer: Any, limits: Limits | None = None) -> None:
        found = answerer.description
        self.app = ServerApp(found.name, found.version, limits=limits)
        self.app.use(answerer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._started = threading.Event()
        self._ahead = 0.0
        self._thread.start()
        assert self._started.wait(600)

    def _run(self) -> None:
        served = self

        class Loop(uvloop.Loop):
            def time(self) -> float:
                return time.monotonic() + served._ahead

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.server = HttpServer(self.app)
        self._started.set()
        await self.server.serve(sockets=[self._listener])
        self.app.batcher.close()

    def pass_time(self, seconds: float) -> None:
        """Lets the clock of the server jump: what it waits for since before is late by so much."""
        self._ahead += seconds

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=600)

    def ask(self, body: bytes) -> int:
        """The status of a predict request."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)) as connection:
            connection.request("POST", "/predict", body)
            return connection.getresponse().status

    def cut(self) -> list[str]:
        """The lines of metrics about connections that were cut."""
        return [line for line in self.app.metrics.text("", "").splitlines() if line.startswith("headrace_cut")]

    def stop(self) -> None:
        """As SIGTERM."""
        self.server.handle_exit(15, None)

    def join(self) -> None:
        """Waits for its end."""
        self._thread.join(600)
        assert not self._thread.is_alive()
