"""Transport of a connection that joins the parts of a response."""

from __future__ import annotations

import asyncio

_CONTINUE = b"HTTP/1.1 100 "


class JoinedTransport:
    """A transport that sends the head and the body of a response in one call of the system, when it is whole.

    What is sent to a connection that has ended is dropped, as asyncio drops it; uvloop's transport raises an error.

    Args:
        transport: of the connection.
    """

    __slots__ = ("_parts", "_transport", "abort", "get_extra_info", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info

    def write(self, data: bytes) -> None:
        """Collects a part of a response; an interim response is sent at once."""
        self._parts.append(data)
        if data.startswith(_CONTINUE):
            self.flush()

    def flush(self) -> None:
        """Sends what was collected."""
        if self._parts and not self.is_closing():
            self._transport.write(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        self._parts.clear()

    def close(self) -> None:
        """Sends what was collected, and closes the connection."""
        self.flush()
        self._transport.close()
