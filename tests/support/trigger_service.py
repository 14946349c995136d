"""The HTTP service of triggers on a real socket, in a thread of the test."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from headrace.components.serve.http.server import HttpServer
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import PlatformRuns, Status
from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers.service.app import TriggerApp, TriggerServiceConfig
from headrace.pipelines.triggers.service.login import Login


class TriggerService:
    """The service in a thread.

    Args:
        settings: of the dynamic training.
        runs: of the platform.
        login: who may use it; None for this machine.
        data_below: places below which data may be announced.

    Attributes:
        settings, runs: those that the next request uses.
    """

    def __init__(
        self, settings: DynamicSettings, runs: PlatformRuns, login: Login | None, data_below: Sequence[str]
    ) -> None:
        self.settings = settings
        self.runs = runs
        self.app = TriggerApp(TriggerServiceConfig(lambda: self.settings, login, data_below, self))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(600)

    async def _serve(self) -> None:
        self.server = HttpServer(self.app)
        self._started.set()
        await self.server.serve(sockets=[self._listener])

    def status(self, run_id: str) -> Status:
        """Of a run, as the present platform has it."""
        return self.runs.status(run_id)

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """Starts a run on the present platform."""
        self.runs.start(run, arrivals)

    def stop(self) -> None:
        """As SIGTERM."""
        self.server.handle_exit(15, None)
        self._thread.join(600)
        assert not self._thread.is_alive()
        self.app.close()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """The status, the headers and the body of an answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            found = connection.getresponse()
            return found.status, found.headers, found.read()

    def post(self, content: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        """The status and the JSON of the answer to a request for a run."""
        status, _, body = self.send(
            "POST", "/runs", json.dumps(content).encode(), {"content-type": "application/json", **headers}
        )
        return status, json.loads(body)
