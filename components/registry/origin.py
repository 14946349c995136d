"""Origin of a change: the user and the machine of this process, and the time."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from headrace.components.registry.state import Origin

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def steady_clock(start: datetime | None = None) -> Clock:
    """A clock that ignores later clock changes, for durations within one process.

    Args:
        start: the present time; None for that of this machine.
    """
    start, begun = start or utc_now(), time.monotonic()
    return lambda: start + timedelta(seconds=time.monotonic() - begun)


def this_user() -> str:
    """USER@HOST of this process; USER is the user id if the user has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a user id that /etc/passwd does not name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def origin(why: str = "", *, who: str = "", clock: Clock = utc_now) -> Origin:
    """The origin of a change at the current time.

    Args:
        why: the reason, as text.
        who: name of an account; "" for `this_user`.
        clock: returns the time.
    """
    return Origin(who or this_user(), clock().isoformat(timespec="seconds"), why)
