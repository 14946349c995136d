"""Front of the router: connections of clients, with limits of their number, the time of a request, and memory.

A request is forwarded when it has arrived completely, so that a slow client occupies no place in a version's queue. The
protocols use asyncio without a framework: a request, with its forwarding, takes the router 0.11 ms of CPU; an empty
ASGI application on uvicorn takes 0.13 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
from collections.abc import Awaitable, Callable

from headrace.components.deploy.local.router.messages import (
    MAX_HEAD_BYTES,
    BadMessage,
    Body,
    Head,
    answered,
    request_head,
    response,
)

_log = logging.getLogger("headrace.router")

# The server's own maximum is 8 MiB.
MAX_BODY_BYTES = 16 << 20
# Timeout of a complete request, since its first byte or the connection. Arriving bytes do not extend it.
ARRIVAL_TIMEOUT_S = 9.0
IDLE_TIMEOUT_S = 75.0
_WRITE_TIMEOUT_S = 30.0
_MAX_BUFFERED_BYTES = 512 << 20
_PAUSE_AT = 256 << 10
_DESCRIPTORS_KEPT = 2048
_MAX_CONNECTIONS = 10_000

Answer = tuple[Head, bytes]
Handler = Callable[[Head, bytes], Awaitable[Answer]]


class Front:
    """The clients of the router.

    Args:
        handler: returns the response to a complete request.
        max_connections: maximum connections of clients; None for the maximum that the limit of descriptors allows.
    """

    def __init__(self, handler: Handler, max_connections: int | None = None) -> None:
        self.handler = handler
        self.ending = False
        self.buffered = 0
        self.max_connections = max_connections or _most_connections()
        self.connections: dict[ClientConnection, None] = {}
        # In the order in which they began to wait. The first one is closed if there are too many connections.
        self.waiting: dict[ClientConnection, None] = {}

    def client(self) -> ClientConnection:
        """The protocol of a new connection, for `loop.create_server`."""
        return ClientConnection(self)

    def entered(self, client: ClientConnection) -> None:
        """Adds a connection. At the maximum, the connection that has waited longest for its client is closed."""
        if len(self.connections) >= self.max_connections and self.waiting:
            next(iter(self.waiting)).abort()
        self.connections[client] = None

    def left(self, client: ClientConnection) -> None:
        """Removes a connection."""
        self.connections.pop(client, None)
        self.waiting.pop(client, None)

    async def end(self, timeout_s: float) -> None:
        """Closes idle connections at once, the others after their response, and all after `timeout_s` seconds."""
        self.ending = True
        for client in list(self.connections):
            client.end_if_idle()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for client in list(self.connections):
            client.abort()


class ClientConnection(asyncio.Protocol):
    """One connection of a client, with one request after another.

    Args:
        front: the front that it belongs to.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._body: Body | None = None
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        # Whether it waits for the first byte of the next request.
        self._idle = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._front.entered(self)
        self._wait(ARRIVAL_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        assert self._transport is not None
        if self._task is not None:
            # The next request arrives before the response to this one.
            self._buffer += data
            if len(self._buffer) > _PAUSE_AT:
                self._transport.pause_reading()
            return
        try:
            self._take(data)
        except BadMessage as error:
            self._refuse(error)

    def _take(self, data: bytes) -> None:
        if self._body is None:
            if self._idle:
                self._wait(ARRIVAL_TIMEOUT_S)
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD_BYTES:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise BadMessage(431, f"the headers are too large. Expected at most {MAX_HEAD_BYTES} bytes.")
                return
            self._head = head = request_head(bytes(self._buffer[:end]))
            data = bytes(self._buffer[end + 4 :])
            self._buffer.clear()
            self._body = Body(head.length, MAX_BODY_BYTES)
            if not self._body.done and (head.get(b"expect") or b"").lower() == b"100-continue":
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._feed(self._body, data)

    def _feed(self, body: Body, data: bytes) -> None:
        rest = data if body.done else body.feed(data)
        self._front.buffered += body.size - self._held
        self._held = body.size
        if self._front.buffered > _MAX_BUFFERED_BYTES:
            raise BadMessage(503, "the bodies that are being received need too much memory")
        if not body.done:
            return
        self._buffer += rest
        assert self._head is not None
        self._stop_waiting()
        self._task = self._loop.create_task(self._respond(self._head, body.content()))

    async def _respond(self, head: Head, body: bytes) -> None:
        try:
            status, content = await self._front.handler(head, body)
        except Exception:
            _log.exception("unexpected internal error: %r %r", head.method, head.target)
            status, content = error_response(500, "unexpected internal error; the router's log has the cause")
        keep = head.keep and not self._front.ending
        self._write(answered(status, content, keep=keep, bodiless=head.method == b"HEAD"))
        self._release()
        if self._drained is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    await self._drained
        self._task = self._head = self._body = None
        if self._transport is None or self._transport.is_closing():
            return
        if self._drained is not None:
            self.abort()
        elif not keep or self._front.ending:
            self._transport.close()
        else:
            self._wait(IDLE_TIMEOUT_S, idle=True)
            self._transport.resume_reading()
            if self._buffer:
                data = bytes(self._buffer)
                self._buffer.clear()
                self.data_received(data)

    def _refuse(self, error: BadMessage) -> None:
        self._buffer.clear()
        self._release()
        self._write(answered(*error_response(error.status, str(error)), keep=False))
        if self._transport is not None:
            self._transport.close()

    def _release(self) -> None:
        self._front.buffered -= self._held
        self._held = 0

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _wait(self, timeout_s: float, *, idle: bool = False) -> None:
        """Starts the timeout of the client, after which the connection is closed."""
        self._stop_waiting()
        self._idle = idle
        self._front.waiting[self] = None
        self._timer = self._loop.call_later(timeout_s, self._expired)

    def _stop_waiting(self) -> None:
        self._front.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        if self._buffer or self._body is not None:
            self._refuse(BadMessage(408, "the request did not arrive in time"))
        else:
            self.abort()

    def end_if_idle(self) -> None:
        """Closes the connection if it has no request under way."""
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        self._front.left(self)

    def pause_writing(self) -> None:
        """As asyncio calls it: the client reads more slowly than the router writes."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """As asyncio calls it."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def eof_received(self) -> bool:
        """Leaves the connection open for the response: a client may close its half after the request."""
        return self._task is not None

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio calls it. A forwarded request is completed for the counts, and its response is dropped."""
        self._stop_waiting()
        self._front.left(self)
        self._transport = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._task is None:
            self._release()


def error_response(status: int, message: str, retry_after_s: int = 0) -> Answer:
    """An error response of the router, in the format of the server's errors.

    Args:
        status: HTTP status.
        message: text of the error.
        retry_after_s: value of Retry-After, in seconds; 0 for none.
    """
    headers = [(b"retry-after", b"%d" % retry_after_s)] if retry_after_s else []
    return response(status, json.dumps({"error": message}).encode(), headers=headers)


def _most_connections() -> int:
    """Maximum connections: the limit of descriptors, which it raises, without a reserve for versions and files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    kept = min(_DESCRIPTORS_KEPT, soft // 2)
    return max(1, min(_MAX_CONNECTIONS, soft - kept))
