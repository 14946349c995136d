"""The router's process: a look at its lock does not keep it from starting."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.router import process
from headrace.core.storage import lock


class Time:
    """A clock that only sleep advances; after a second of it, the lock is given back."""

    def __init__(self, held: int) -> None:
        self.now = 0.0
        self._held = held

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        if before < 1.0 <= self.now:
            os.close(self._held)


def test_a_look_that_lasts_is_outlasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = EndpointFolder(str(tmp_path))
    folder.router.mkdir()
    # As `is_locked` does, in a process that stands still within it: one that loads a model, or is out of time.
    held = os.open(folder.router / ".lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_SH)
    monkeypatch.setattr(lock, "time", Time(held))
    routed: list[str] = []

    async def route(folder: EndpointFolder, listener: socket.socket) -> None:
        routed.append((folder.router / ".lock").read_text())

    monkeypatch.setattr(process, "route", route)
    assert process.main([str(tmp_path), "--port", "0"]) == 0
    assert routed == [str(os.getpid())]
