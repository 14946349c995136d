"""Connections: deadlines and bounds of HTTP, so that slow or hostile clients never starve the others.

uvicorn's protocol bounds neither the time nor the size of headers, nor the time or the number of pieces of a body. Here
a connection without a whole request has one deadline for headers and body together, which arriving bytes do not extend;
a client that does not read its response has one, too. One timer checks them all. Many without a
whole request are cut evenly from half of their time on. At the maximum number of connections the one that has waited
longest without a whole request is closed for a new one, so descriptors never run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Literal, Protocol, get_args

from headrace.components.serve.limits import Limits

# What a connection waits for: the rest of a request, the next one, a client that reads, or one that closes, too.
Wait = Literal["arrival", "idle", "writing", "closing"]

# Those for which a client has a limited time; uvicorn ends idle connections.
_TIMED: tuple[Wait, ...] = ("arrival", "writing", "closing")
# So that of a thousand slow clients few are late at once: cutting many together would delay the others' requests.
_CHECK_S = 0.02
# Connections that are cut per turn of the event loop, so that a thousand that are late at once delay no request.
_CUTS = 32
# More connections than this without a whole request are cut evenly in the second half of their time. A thousand that
# came in one second would be late in one, and most come again in one, which would delay the others' requests.
_MANY = 250
# A closed connection whose client reads nothing is given up after this time.
_LINGER_S = 5.0


class BoundedConnection(Protocol):
    """What is registered.

    Attributes:
        loop: that it runs in.
        transport: of the connection.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    @property
    def missing(self) -> str:
        """The part of a request that has not arrived."""

    def cut(self, status: int, message: str, *, at_once: bool = False) -> None:
        """Closes it."""


class Connections:
    """All connections of a server, by what they wait for; for the event loop's thread.

    Args:
        limits: of the server.
        refused: called with the reason for each connection that is cut.

    Attributes:
        open: number of open connections.
    """

    def __init__(self, limits: Limits, refused: Callable[[str], None] = lambda _: None) -> None:
        self.limits = limits
        self.open = 0
        self.refused = refused
        # Each maps connections to the time since when they wait, oldest first.
        self._waiting: dict[Wait, dict[BoundedConnection, float]] = {wait: {} for wait in get_args(Wait)}
        self._timer: asyncio.TimerHandle | None = None
        # When connections were last cut early, and how many may be since then.
        self._checked = self._allowed = 0.0

    def opened(self, connection: BoundedConnection) -> None:
        """Counts a new connection, and closes another one if there are too many."""
        self.open += 1
        if self._timer is None:
            self._timer = connection.loop.call_later(_CHECK_S, self._check)
        if self.open > self.limits.max_connections:
            victim = next(chain(self._waiting["arrival"], self._waiting["idle"]), connection)
            self._cut(victim, 503, "too many connections")
        if not connection.transport.is_closing():
            self.wait(connection, "arrival")

    def closed(self, connection: BoundedConnection) -> None:
        """Forgets a connection."""
        self.open -= 1
        for waiting in self._waiting.values():
            waiting.pop(connection, None)

    def wait(self, connection: BoundedConnection, kind: Wait) -> None:
        """Notes that a connection begins to wait for the rest of a request, for the next one, or for its client."""
        self._waiting[kind][connection] = connection.loop.time()

    def proceed(self, connection: BoundedConnection, kind: Wait) -> None:
        """Notes that it does not wait any more."""
        self._waiting[kind].pop(connection, None)

    def _cut(
        self, connection: BoundedConnection, status: int, why: str, message: str = "", *, at_once: bool = False
    ) -> None:
        # It is closed in a later turn, and must not be chosen again until then.
        for waiting in self._waiting.values():
            waiting.pop(connection, None)
        self.refused(why)
        connection.cut(status, message or why, at_once=at_once)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        found = list(islice(self._late(loop.time()), _CUTS))
        for connection, kind, seconds in found:
            if kind == "closing":
                self.proceed(connection, kind)
                connection.transport.abort()
                continue
            what = "the response was not read" if kind == "writing" else f"the {connection.missing} did not arrive"
            self._cut(connection, 408, what, f"{what} within {seconds:g} s", at_once=kind == "writing")
        self._timer = loop.call_later(_CHECK_S if len(found) < _CUTS else 0, self._check) if self.open else None

    def _late(self, now: float) -> Iterator[tuple[BoundedConnection, Wait, float]]:
        """The connections to be cut, what they wait for, and the seconds that they had."""
        for kind in _TIMED:
            seconds = _LINGER_S if kind == "closing" else self.limits.arrival_time_s
            for connection, since in self._waiting[kind].items():
                if since + seconds > now:
                    break
                yield connection, kind, seconds
        yield from self._early(now)

    def _early(self, now: float) -> Iterator[tuple[BoundedConnection, Wait, float]]:
        """Of many connections without a whole request the oldest, at an even rate until the first would be late."""
        arriving, seconds = self._waiting["arrival"], self.limits.arrival_time_s
        since_last, self._checked = now - self._checked, now
        oldest = next(iter(arriving.values()), now)
        if len(arriving) <= _MANY or oldest + seconds / 2 > now:
            self._allowed = 0.0
            return
        left = max(oldest + seconds - now, _CHECK_S)
        self._allowed = min(self._allowed + since_last * len(arriving) / left, _CUTS)
        for connection, since in arriving.items():
            if self._allowed < 1 or since + seconds / 2 > now:
                return
            if since + seconds > now:
                self._allowed -= 1
                yield connection, "arrival", seconds / 2
