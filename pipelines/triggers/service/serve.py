"""Service process: serves until SIGTERM, and completes the requests under way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvloop

from headrace.components.serve.http.listen import listen, url_of
from headrace.components.serve.http.server import HttpServer
from headrace.pipelines.triggers.service.app import TriggerApp, TriggerServiceConfig


def serve(config: TriggerServiceConfig, host: str, port: int, report: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        config: options of the service.
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        report: receives the URL when the service listens.

    Raises:
        UsageError: the address is in use.
    """
    app = TriggerApp(config)
    try:
        with listen(host, port) as listener:
            uvloop.run(_serve(app, listener, report))
    finally:
        app.close()


async def _serve(app: TriggerApp, listener: socket.socket, report: Callable[[str], None]) -> None:
    server = HttpServer(app)

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it serves. After its end, it raises the signal again for these handlers.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    report(url_of(listener))
    await server.serve(sockets=[listener])
