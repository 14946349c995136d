"""Backend of the router: the process of one version, with connections that stay open between requests."""

from __future__ import annotations

import asyncio
import collections
from urllib.parse import urlsplit

from headrace.components.deploy.local.router.messages import (
    MAX_HEAD_BYTES,
    BadMessage,
    Body,
    Head,
    forwarded,
    response_head,
)

# Maximum requests in flight per process. The server's own queue is shorter, and returns 503 before this maximum.
MAX_IN_FLIGHT = 1024
_MAX_IDLE = 128
_CONNECT_TIMEOUT_S = 5.0
_MAX_RESPONSE_BYTES = 256 << 20


class BackendUnreachable(Exception):
    """No response: the process died, closed the connection, or sent bytes that are not valid HTTP.

    Attributes:
        began: whether bytes of a response had arrived.
        connected: whether the process had accepted the request's connection.
    """

    def __init__(self, message: str, *, began: bool = False, connected: bool = True) -> None:
        super().__init__(message)
        self.began = began
        self.connected = connected


class BackendBusy(Exception):
    """The maximum number of requests in flight is reached."""


class _Connection(asyncio.Protocol):
    """One connection to the process, with at most one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.used = False
        self._waiter: asyncio.Future[tuple[Head, bytes]] | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._body: Body | None = None
        self._bodiless = False

    @property
    def open(self) -> bool:
        """Whether it can send a request."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, *, bodiless: bool) -> asyncio.Future[tuple[Head, bytes]]:
        """Sends a request; returns a future of its response."""
        assert self.transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._head, self._body, self._bodiless = None, None, bodiless
        self.transport.write(request)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        if self._waiter is None:
            # The process sent bytes without a request, which must not become the start of a later response.
            self.close()
            return
        try:
            if self._body is None:
                rest = self._read_head(data)
                if rest is None or self._body is None:
                    return
                data = rest
            if data if self._body.done else self._body.feed(data):
                raise BadMessage(502, "there are bytes after the response")
        except BadMessage as error:
            self._fail(str(error))
            return
        if self._body.done:
            self._finish()

    def _read_head(self, data: bytes) -> bytes | None:
        """Parses the head if it is complete, and returns the bytes after it; None if it is not."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadMessage(502, "the head of the response is too large")
            return None
        head = response_head(bytes(self._buffer[:end]), bodiless=self._bodiless)
        rest = bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        self._head, self._body = head, Body(head.length, _MAX_RESPONSE_BYTES)
        return rest

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        assert self._head is not None
        assert self._body is not None
        if not self._head.keep:
            self.close()
        if waiter is not None and not waiter.done():
            waiter.set_result((self._head, self._body.content()))

    def _fail(self, message: str) -> None:
        waiter, self._waiter = self._waiter, None
        began = self._body is not None or bool(self._buffer)
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(BackendUnreachable(message, began=began))

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio calls it."""
        if self._waiter is not None and self._body is not None and self._body.end():
            self._finish()
        elif self._waiter is not None:
            self._fail(f"the connection was closed{f': {error}' if error else ''}")

    def close(self) -> None:
        """Closes the connection at once."""
        if self.transport is not None:
            self.transport.abort()


class Backend:
    """The process of a version.

    Args:
        version: version that it serves.
        pid: process id.
        url: URL of the process.
    """

    def __init__(self, version: str, pid: int, url: str) -> None:
        self.version = version
        self.pid = pid
        self.url = url
        self.in_flight = 0
        self._left = False
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._idle: collections.deque[_Connection] = collections.deque()

    async def ask(self, head: Head, body: bytes, timeout_s: float) -> tuple[Head, bytes]:
        """Sends a request and reads its response.

        If the process closed an idle connection, the request is sent again on another one.

        Args:
            head, body: head and body of the request.
            timeout_s: maximum time, in seconds.

        Raises:
            BackendBusy: the maximum number of requests is in flight.
            BackendUnreachable: the process does not respond.
            TimeoutError: the process did not respond in time.
        """
        if self.in_flight >= MAX_IN_FLIGHT:
            raise BackendBusy
        request = forwarded(head, body)
        self.in_flight += 1
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    connection = self._pop() or await self._connect()
                    reused, connection.used = connection.used, True
                    try:
                        response = await connection.send(request, bodiless=head.method == b"HEAD")
                    except BackendUnreachable as error:
                        if reused and not error.began:
                            continue
                        raise
                    except BaseException:
                        connection.close()
                        raise
                    self._push(connection)
                    return response
        finally:
            self.in_flight -= 1

    def close(self) -> None:
        """Closes idle connections at once, and the others after their response."""
        self._left = True
        while self._idle:
            self._idle.popleft().close()

    def _pop(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    def _push(self, connection: _Connection) -> None:
        if self._left:
            connection.close()
        if not connection.open:
            return
        self._idle.append(connection)
        if len(self._idle) > _MAX_IDLE:
            self._idle.popleft().close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(_Connection, *self._address)
        except (OSError, TimeoutError) as error:
            raise BackendUnreachable(f"the process does not accept connections: {error}", connected=False) from error
        return connection
