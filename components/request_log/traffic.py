"""Traffic log: a server's counts of requests by version, as the evidence of canaries at Vertex AI and KServe.

Each server replaces one small file per version, with its counts at the last full multiples of 10 s. Readers add the
counts of all servers at one common time: a server that writes later than another one never looks better or worse.
Where the clock of a server is ahead, that time is of this clock, and the counts of the others are up to 30 s newer:
no server is left out.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from headrace.components.request_log.counts import VersionCounts
from headrace.core import storage
from headrace.core.errors import DataError, HeadraceError

INTERVAL_S = 10
# Readers wait so long for the slowest server's file.
_LAG_S = 2 * INTERVAL_S
_KEPT = 12
_FORMAT = 1

_log = logging.getLogger("headrace.request_log")


class TrafficLog:
    """Counts a server's responses, and writes the counts in a thread of its own.

    Args:
        folder: of the traffic log, on a disk that all servers share or on gs://.
        deployment: id of the deployment that the server is of, as Vertex AI names it; "" where there is none.
        clock: returns the time in seconds since the epoch.
    """

    def __init__(self, folder: str, deployment: str = "", clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._deployment = {"deployment": deployment} if deployment else {}
        self._clock = clock
        # A container that is restarted keeps its host and its process id.
        self._name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.json"
        self._counts: dict[str, VersionCounts] = {}
        self._snapshots: dict[str, list[dict[str, Any]]] = {}
        self._failed = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic-log", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def answered(self, version: str, status: int, seconds: float) -> None:
        """Counts a response to a predict request; for one thread.

        Args:
            version: that answered.
            status: of HTTP.
            seconds: from the whole request to its response.
        """
        counts = self._counts.get(version)
        if counts is None:
            counts = self._counts[version] = VersionCounts()
        counts.answered(status, seconds)

    def write(self, at: int) -> None:
        """Writes the counts of this moment as those at a full interval; the first failure is logged.

        Args:
            at: in seconds since the epoch; earlier than before where the clock was set back.
        """
        for version, counts in list(self._counts.items()):
            now = counts.copy().to_json()
            snapshots = self._snapshots.setdefault(version, [])
            if snapshots and snapshots[-1]["at"] > at:
                # The clock was set back: until it is there again, those would be the latest.
                snapshots.clear()
            if snapshots and all(snapshots[-1][name] == value for name, value in now.items()):
                continue
            if snapshots and snapshots[-1]["at"] == at:
                snapshots.pop()
            snapshots.append({"at": at, **now})
            del snapshots[:-_KEPT]
            try:
                storage.write_json(
                    storage.join(self._folder, version, self._name),
                    {"format": _FORMAT, "version": version, **self._deployment, "snapshots": snapshots},
                )
            except HeadraceError as error:
                # They count as not written, so that the next interval writes them, also without another request.
                snapshots.pop()
                if not self._failed:
                    _log.error("the traffic log cannot be written, and a canary misses its counts: %s", error.paragraph)
                self._failed = True

    def close(self) -> None:
        """Writes the last counts."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_LAG_S)
        self.write(self._next())

    def _run(self) -> None:
        while not self._end.wait((at := self._next()) - self._clock()):
            self.write(at)

    def _next(self) -> int:
        return math.floor(self._clock() / INTERVAL_S + 1) * INTERVAL_S


def counted_until(now: float) -> int:
    """The latest time for which all servers have written their counts at `now`; both in seconds since the epoch."""
    return int((now - _LAG_S) // INTERVAL_S * INTERVAL_S)


@dataclass(frozen=True)
class Traffic:
    """The counts of all servers at a time.

    Attributes:
        counts: by version, the sum over its servers, also those that have ended.
        until: the time, in seconds since the epoch.
    """

    counts: Mapping[str, VersionCounts]
    until: float


def read_traffic(
    folder: str, versions: Iterable[str], at: float, deployments: Mapping[str, str] = MappingProxyType({})
) -> Traffic:
    """The counts of all servers at a time.

    Args:
        folder: of the traffic log; one that does not exist has no counts.
        versions: of the model.
        at: the time, in seconds since the epoch, as of `counted_until`; where the clock of a server is ahead of it, a
            later one.
        deployments: ids by version, of which servers count alone: those of the version at another endpoint, or of an
            earlier deployment, may write to the same folder. Servers that name no deployment count.

    Raises:
        DataError: a file is damaged.
        PlatformError: the store failed.
    """
    found = {one: _snapshots(storage.join(folder, one), deployments.get(one, "")) for one in versions}
    latest = (snapshots[-1][0] for servers in found.values() for snapshots in servers if snapshots)
    # A server writes its counts before the time that it gives them.
    until = max(at, max(latest, default=at) - _LAG_S - INTERVAL_S)
    return Traffic({one: _sum(servers, until) for one, servers in found.items()}, until)


def _snapshots(folder: str, deployment: str) -> list[list[tuple[float, VersionCounts]]]:
    """The times and the counts that each server wrote of a version, by time."""
    servers = []
    for name, uri in storage.files_below(folder).items():
        if not name.endswith(".json") or name[0] == ".":
            continue
        content = storage.read_json(uri)
        try:
            if content["format"] != _FORMAT:
                raise ValueError("another format")
            if deployment and content.get("deployment", deployment) != deployment:
                continue
            written = [(float(one["at"]), VersionCounts.from_json(one)) for one in content["snapshots"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError("the traffic log is damaged", where=uri, received=repr(error)) from error
        servers.append(sorted(written, key=itemgetter(0)))
    return servers


def _sum(servers: Iterable[Sequence[tuple[float, VersionCounts]]], until: float) -> VersionCounts:
    total = VersionCounts()
    for snapshots in servers:
        counted = [counts for at, counts in snapshots if at <= until]
        if counted:
            total.add(counted[-1])
    return total
