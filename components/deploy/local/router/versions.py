"""Version processes of the router: found by their announcements, restarted if they died, stopped if unused.

`endpoint.json` is the desired state, which is reconciled with the processes: a version with traffic has a process, and
a process of a version without traffic is stopped after its last request. A process outlives the router, and the next
router finds it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from headrace.components.deploy.local import launcher
from headrace.components.deploy.local.endpoint import LAUNCH_LOCK, EndpointFolder
from headrace.components.deploy.local.router.backend import Backend
from headrace.components.deploy.state import EndpointState
from headrace.components.serve import processes
from headrace.components.serve.processes import Announcement
from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.core.storage.lock import is_locked, locked

_log = logging.getLogger("headrace.router")

_SECONDS_BETWEEN_STATES = 0.05
_SECONDS_BETWEEN_LOOKS = 0.5
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 60.0
# A process that ran for this long is restarted at once.
_STEADY_S = 60.0
_START_TIMEOUT_S = 120.0
_DRAIN_S = 40.0


@dataclass
class Restarts:
    """Restarts of a version's process by this router, with exponential backoff.

    Attributes:
        number: number of starts.
        error: error of the last start; "" if it succeeded.
        pause_s: current wait between starts, in seconds.
        not_before: earliest time of the next start, on the monotonic clock.
        started: time of the last start, on the monotonic clock; 0 before the first.
    """

    number: int = 0
    error: str = ""
    pause_s: float = 0.0
    not_before: float = 0.0
    started: float = 0.0

    def next_start(self, now: float) -> None:
        """Counts a start at a time. If it follows soon after the last one, the wait doubles, from 0.5 s to 60 s."""
        self.number += 1
        soon = now - self.started < _STEADY_S + self.pause_s
        self.pause_s = min(_MAX_PAUSE_S, max(_FIRST_PAUSE_S, 2 * self.pause_s)) if soon and self.started else 0.0
        self.started = now
        self.not_before = now + max(_FIRST_PAUSE_S, self.pause_s)


class Versions:
    """The processes of an endpoint's versions.

    Args:
        folder: folder of the endpoint.
    """

    def __init__(self, folder: EndpointFolder) -> None:
        self.folder = folder
        self.state: EndpointState | None = None
        self.backends: dict[str, Backend] = {}
        self.restarts: dict[str, Restarts] = {}
        self.ending = False
        self._stamp: object = None
        self._looked = 0.0
        self._launches: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[int, asyncio.Task[None]] = {}
        self._left: dict[int, tuple[Backend, float]] = {}

    async def watch(self) -> None:
        """Follows the state and the processes until it is cancelled."""
        while True:
            try:
                self.look()
            except HeadraceError as error:
                _log.error("%s", error.paragraph)
            await asyncio.sleep(_SECONDS_BETWEEN_STATES)

    def look(self) -> None:
        """Reads the state if it changed. Reconciles the processes after a change, and twice per second."""
        stamp = self.folder.stamp()
        now = time.monotonic()
        if stamp == self._stamp and now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        if stamp != self._stamp:
            try:
                self.state = self.folder.read()
            except DataError:
                # The versions are still served, because only the file is damaged.
                self._stamp = stamp
                raise
            self._stamp = stamp
        self._looked = now
        if self.state is not None and not self.state.stopped and not self.ending:
            self._reconcile(self.state, now)

    def lost(self, backend: Backend) -> None:
        """Removes a process that did not respond, unless it still runs."""
        if not any(one.pid == backend.pid for one in processes.running(str(self.folder.servers))):
            if self.backends.get(backend.version) is backend:
                del self.backends[backend.version]
            backend.close()
            self._looked = 0.0

    def _reconcile(self, state: EndpointState, now: float) -> None:
        found = processes.running(str(self.folder.servers))
        for version in state.traffic:
            self._find(version, state, [a for a in found if a.version == version and a.url is not None])
            if version not in self.backends:
                self._start(version, state, now)
        for version in [v for v in self.backends if v not in state.traffic]:
            self._leave(self.backends.pop(version), now)
        kept = {one.pid for one in self.backends.values()}
        awaited = None if state.pending is None else state.pending.version
        for one in found:
            # A process without a version is still starting.
            if one.pid not in kept and one.version not in ("", awaited) and one.version not in self._launches:
                self._stop(one, now)
        self._left = {pid: left for pid, left in self._left.items() if any(a.pid == pid for a in found)}

    def _find(self, version: str, state: EndpointState, ready: list[Announcement]) -> None:
        current = self.backends.get(version)
        alive = current is not None and any(one.pid == current.pid for one in ready)
        if alive and state.pending is not None and state.pending.version == version:
            # A new process of the version is not checked yet, so the old one is used.
            return
        newest = processes.newest(str(self.folder.servers), ready)
        if alive and newest is not None and current is not None and newest.pid == current.pid:
            return
        if current is not None:
            self._leave(self.backends.pop(version), time.monotonic())
        if newest is not None and newest.url is not None:
            self.backends[version] = Backend(version, newest.pid, newest.url)
            _log.info("version %s is answered by process %d at %s", version, newest.pid, newest.url)

    def _leave(self, backend: Backend, now: float) -> None:
        backend.close()
        self._left[backend.pid] = (backend, now)

    def _stop(self, one: Announcement, now: float) -> None:
        left = self._left.get(one.pid)
        if left is not None and left[0].in_flight and now - left[1] < _DRAIN_S:
            return
        if one.pid in self._stops and not self._stops[one.pid].done():
            return
        _log.info("stopping process %d of version %s", one.pid, one.version)
        self._stops = {pid: task for pid, task in self._stops.items() if not task.done()}
        self._stops[one.pid] = asyncio.create_task(self._stopped(one))

    async def _stopped(self, one: Announcement) -> None:
        try:
            await asyncio.to_thread(launcher.stop, one, self.folder.servers)
        except HeadraceError as error:
            _log.error("%s", error.paragraph)

    def _start(self, version: str, state: EndpointState, now: float) -> None:
        if state.pending is not None and state.pending.version == version and is_locked(str(self.folder.path)):
            # The deployment under way starts it.
            return
        known = self.restarts.setdefault(version, Restarts())
        if now < known.not_before or version in self._launches:
            return
        known.next_start(now)
        _log.warning("version %s has no process: start %d", version, known.number)
        self._launches[version] = asyncio.create_task(self._started(version, state, known))

    async def _started(self, version: str, state: EndpointState, known: Restarts) -> None:
        try:
            await asyncio.to_thread(self._launch, version, state)
            known.error = ""
        except HeadraceError as error:
            known.error = error.paragraph
            _log.error("%s", error.paragraph)
        finally:
            del self._launches[version]
            self._looked = 0.0

    def _launch(self, version: str, state: EndpointState) -> None:
        with locked(str(self.folder.path), timeout_s=_START_TIMEOUT_S, name=LAUNCH_LOCK) as lock:
            launcher.start(
                self.folder.version_path(version),
                state.name,
                version,
                serving=state.serving,
                servers=self.folder.servers,
                log=self.folder.log,
                lock=lock,
                timeout_s=_START_TIMEOUT_S,
                waiting=self._check_ending,
            )

    def _check_ending(self) -> None:
        if self.ending:
            raise PlatformError("the router ends")

    async def end(self) -> None:
        """Ends starts that are under way. The processes continue to run."""
        self.ending = True
        await asyncio.gather(*self._launches.values(), *self._stops.values(), return_exceptions=True)

    def to_json(self, version: str) -> dict[str, Any]:
        """The process of a version, and its restarts."""
        backend, known = self.backends.get(version), self.restarts.get(version, Restarts())
        return {
            "state": "ready" if backend is not None else "starting" if version in self._launches else "down",
            "pid": None if backend is None else backend.pid,
            "url": None if backend is None else backend.url,
            "in_flight": 0 if backend is None else backend.in_flight,
            "restarts": known.number,
            "error": known.error,
        }
