"""One connection of the server: uvicorn's protocol, with bounds and deadlines, and cheap until a request is whole.

A thousand slow clients come and go without ever having a whole request, so what a request needs is paid for when it
is whole: until then there are no task, no timer and no names of the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headrace.components.serve.app import CONNECTED
from headrace.components.serve.http.connections import Connections, Wait
from headrace.components.serve.http.joined_transport import JoinedTransport
from headrace.core.json_body import encode

Phase = Literal["head", "body", "whole", "idle"]
# What a connection waits for in each phase; a whole request waits for the server.
_WAITS: dict[Phase, Wait | None] = {"head": "arrival", "body": "arrival", "whole": None, "idle": "idle"}
# Bytes of a body that are handed over before its end.
_AWAITED_BYTES = 16 << 10
_VERSIONS = ("1.1", "1.0")
_NOT_HTTP = 400, "not HTTP", "the request is not valid HTTP"


class ServerConnection(HttpToolsProtocol):
    """One connection.

    Args:
        shared: all connections.
        options: of uvicorn's protocol.
    """

    parser: httptools.HttpRequestParser
    scope: Any
    cycle: Any
    client: tuple[str, int] | None

    _phase: Phase = "head"
    # What it is registered as waiting for.
    _noted: Wait | None = None
    # Bytes of the head as they come, and of its headers that are parsed; pieces of the body.
    _head_bytes = _fields_bytes = _pieces = 0
    # What came after the requests that are being answered is not HTTP.
    _broken = False
    # The status, the reason for metrics and the message of the response to what is refused.
    _refusal = _NOT_HTTP
    # The application, while the request that it is for is not whole.
    _awaited: Any = None

    def __init__(self, shared: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._shared = shared

    def _is_open(self) -> bool:
        return not self.transport.is_closing()

    @property
    def missing(self) -> str:
        """The part of a request that has not arrived."""
        return "body" if self._phase == "body" else "headers"

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Registers the connection."""
        # What uvicorn does, without asking the system for names that only a whole request needs.
        self.connections.add(self)
        self.transport = JoinedTransport(transport)
        self.flow = FlowControl(transport)
        self.scheme = "http"
        self._noted = "arrival"
        self._shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        super().connection_lost(exc)
        self._shared.closed(self)
        self._unset_keepalive_if_required()
        # They refer to it by its methods: in a circle it would stay in memory until a full garbage collection.
        self.scope = self.cycle = self._awaited = None
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Parses what arrives, and notes what is still missing."""
        if self.transport.is_closing() or self._broken:
            return
        if self._phase in ("head", "idle"):
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self.transport.is_closing() or self._broken:
            return
        if self._phase == "idle":
            # The first bytes of a request line.
            self._phase = "head"
        if self._phase == "head" and self._head_bytes > self._shared.limits.max_head_bytes:
            self._refuse_head()
            return
        self._note()
        if self._awaited is None:
            return
        # Its headers came now, or with the first piece of the body.
        if len(self.cycle.body) > _AWAITED_BYTES or (self._pieces <= 1 and self._announces_more()):
            self._begin()

    def _announces_more(self) -> bool:
        """Whether a body is so long that the application sees the request before its end, and may refuse it."""
        return any(name == b"content-length" and int(value) > _AWAITED_BYTES for name, value in self.headers)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begins a request when it is whole; one whose client waits for leave to send the body at once."""
        self._awaited = app
        if not cycle.more_body or cycle.waiting_for_100_continue:
            self._begin(cycle)

    def _begin(self, cycle: Any = None) -> None:
        if self.client is None:
            with contextlib.suppress(OSError):
                # asyncio has None for a client that has left; of IPv6 there are four items.
                self.client = (self.transport.get_extra_info("peername") or ())[:2] or None
        cycle = cycle or self.cycle
        cycle.scope["client"] = self.client
        app, self._awaited = self._awaited, None
        super()._start_asgi_task(cycle, app)

    def _parse(self, data: bytes) -> None:
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    data = self._without_upgrade() + data[upgrade.args[0] :]
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _without_upgrade(self) -> bytes:
        """The head of the request without its wish for another protocol, which the server does not have.

        The parser takes what follows such a head for bytes of the other protocol, and a body for the next request.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _note(self) -> None:
        kind = _WAITS[self._phase]
        if kind == self._noted:
            return
        if self._noted is not None:
            self._shared.proceed(self, self._noted)
        if kind is not None:
            self._shared.wait(self, kind)
        self._noted = kind

    def _too_large(self) -> tuple[int, str, str]:
        most = self._shared.limits.max_head_bytes
        return 431, "the headers are too large", f"the headers are too large. Expected at most {most} bytes."

    def _refuse_head(self) -> None:
        self._refusal = self._too_large()
        self.send_400_response("")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header; those after a chunked body are read by nobody, and are bounded as the others are."""
        size = len(name) + len(value) + len(b": \r\n")
        if self._phase != "body":
            self._fields_bytes += size
            super().on_header(name, value)
            return
        before, most = self._head_bytes, self._shared.limits.max_head_bytes
        self._head_bytes += size
        if before <= most < self._head_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._phase = "head"
        self._fields_bytes = 0
        self.scope["extensions"] = {CONNECTED: self._is_open}

    def on_headers_complete(self) -> None:
        """Begins the body.

        Raises:
            ValueError: the request is refused; the parser stops.
        """
        if len(self.url) + self._fields_bytes > self._shared.limits.max_head_bytes:
            # It came with the end of the headers, before its size was counted.
            self._refusal = self._too_large()
            raise ValueError("the headers are too large")
        if self.parser.get_http_version() not in _VERSIONS or self.parser.get_method() == b"CONNECT":
            raise ValueError("another version, or a tunnel")
        if self.parser.should_upgrade():
            return
        self._phase = "body"
        self._head_bytes = self._pieces = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Collects the pieces of the body: the application is not woken for each byte of a slow client."""
        self._pieces += 1
        most = self._shared.limits.max_pieces
        if self._pieces <= most and len(self.cycle.body) <= _AWAITED_BYTES:
            self.cycle.body += body
        elif self._pieces <= most:
            super().on_body(body)
        elif self._pieces == most + 1:
            self._shared.refused("too many chunks")
            self.cut(413, f"the body has too many pieces. Expected at most {most} chunks.")

    def on_message_complete(self) -> None:
        """Ends the request, for which the client now waits."""
        if self.parser.should_upgrade():
            return
        self._phase = "whole"
        # The next request, which may come in the same packet, has a deadline of its own.
        self._note()
        self._head_bytes = 0
        super().on_message_complete()
        if self._awaited is not None:
            self._begin()

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        if self.cycle is None:
            return
        self.transport.flush()
        super().on_response_complete()
        if self._awaited is not None and self._announces_more():
            self._begin()
        if self._broken and self.cycle.response_complete:
            self.send_400_response("")
        elif self._phase == "whole" and not self.pipeline:
            self._phase = "idle"
            self._note()

    def pause_writing(self) -> None:
        """Notes that the client does not read."""
        super().pause_writing()
        self._shared.wait(self, "writing")

    def resume_writing(self) -> None:
        """Notes that the client reads again."""
        super().resume_writing()
        self._shared.proceed(self, "writing")

    def send_400_response(self, msg: str) -> None:
        """Refuses what is not HTTP, or too large, after the responses to whole requests before it."""
        if self._phase != "body" and self.cycle is not None and not self.cycle.response_complete:
            self._broken = True
            self.flow.pause_reading()
            return
        status, reason, message = self._refusal
        self._shared.refused(reason)
        self.cut(status, message)

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection."""
        self._end()

    def cut(self, status: int, message: str, *, at_once: bool = False) -> None:
        """Closes the connection, after a response where that cannot mix with another one.

        Args:
            status: of the response.
            message: its error.
            at_once: whether bytes that wait to be sent are dropped, and no response is sent.
        """
        cycle, free = self.cycle, not self.pipeline
        if self._phase == "body" and cycle is not None:
            # A response that began before the body's end, such as a 413, is the only one of its request.
            free = free and not cycle.response_started
        if cycle is not None and not cycle.response_complete:
            free = free and self._phase == "body"
            # Its task reads a disconnection, and ends.
            cycle.disconnected = True
            cycle.message_event.set()
        if at_once:
            self.transport.abort()
            return
        if free and not self.transport.is_closing():
            body = encode({"error": message})
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            self.transport.write(STATUS_LINE[status] + head + str(len(body)).encode() + b"\r\n\r\n" + body)
        self._end()

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._shared.wait(self, "closing")
