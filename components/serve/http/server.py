"""HTTP server: uvicorn with bounded connections, which tells every client when it shuts down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Protocol

import uvicorn

from headrace.components.serve.http.connection import ServerConnection
from headrace.components.serve.http.connections import Connections
from headrace.components.serve.limits import Limits
from headrace.components.serve.metrics import Metrics

_log = logging.getLogger("headrace.serve")
# Connections that may wait in the kernel. The event loop accepts all of them at once, and counts each a turn later.
_BACKLOG = 2048
# Descriptors for files and sockets to stores.
_FILES = 64
_MINIMUM = 16
# While clients of idle connections learn of the shutdown by the response to one more request.
_GRACE_S = 0.5
_TURN_S = 0.05


class Application(Protocol):
    """An ASGI application with limits.

    Attributes:
        limits: of its requests and connections.
        metrics: that count the connections that were cut.
        draining: whether each response tells its client to connect elsewhere next time.
    """

    limits: Limits
    metrics: Metrics
    draining: bool


class HttpServer(uvicorn.Server):
    """Serves an application until SIGTERM or SIGINT, and then ends in an orderly way.

    From the signal on, each response says `Connection: close`. Requests under way are finished, and idle connections
    are closed after a short grace, so that a client of a keep-alive connection does not lose its next request.

    Args:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        limits = app.limits
        self._app = app
        descriptors = max(2 * _MINIMUM, _descriptors() - _FILES)
        backlog = min(_BACKLOG, descriptors // 4)
        most = min(limits.max_connections, descriptors - backlog)
        about = "Connections that were refused or cut, by reason."
        self._connections = Connections(
            replace(limits, max_connections=most),
            lambda reason: app.metrics.count("cut_connections", about, {"reason": reason}),
        )
        app.metrics.gauges[("open_connections", "Open connections.")] = lambda: self._connections.open
        super().__init__(
            uvicorn.Config(
                app,
                # uvicorn calls it as it would call a class.
                http=partial(ServerConnection, self._connections),
                loop="none",
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=backlog,
                timeout_keep_alive=int(limits.keep_alive_s),
                timeout_graceful_shutdown=int(limits.time_limit_s) + 1,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        asyncio.get_running_loop().set_exception_handler(_Quiet())
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Notes a signal."""
        self._app.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts no more, and finishes what has begun."""
        self._app.draining = True
        for server in self.servers:
            server.close()
        end = time.monotonic() + _GRACE_S
        while self._connections.open and time.monotonic() < end:
            await asyncio.sleep(_TURN_S)
        await super().shutdown(sockets)


class _Quiet:
    """The event loop's errors, each kind at most once per second: accepting without descriptors fails in a loop."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        message = str(context.get("message"))
        now = time.monotonic()
        if now - self._last.get(message, -1.0) < 1.0:
            return
        self._last[message] = now
        error = context.get("exception")
        if isinstance(error, OSError):
            _log.error("%s: %s", message, error)
        else:
            _log.error("%s", message, exc_info=error)


def _descriptors() -> int:
    """The number of files that this process may open, after its soft limit was raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
