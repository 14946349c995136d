"""Supervisor of a program that holds a folder's lock for as long as it runs: it is started again after it died."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.core.storage.lock import is_locked

_log = logging.getLogger("headrace.supervisor")

LOOK_S = 0.5
_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 60.0
# A program that ran this long is started again without a pause.
_STEADY_S = 60.0


# Looks at which the lock must be free: whoever stops the program on purpose ends its supervisors next; and whoever
# starts it for the first time may start the supervisor before it.
_FREE_LOOKS = 2
_FREE_LOOKS_UNSEEN = 120


@dataclass
class Vigil:
    """Decides when the program is started again: soon, and after pauses that double where it dies again and again."""

    seen: bool = False
    running_since: float | None = None
    free: int = 0
    pause_s: float = 0.0
    not_before: float = 0.0

    def due(self, running: bool, now: float) -> bool:
        """Whether to start the program now.

        Args:
            running: whether it runs.
            now: in seconds.
        """
        if running:
            self.seen, self.free = True, 0
            if self.running_since is None:
                self.running_since = now
            if now - self.running_since >= _STEADY_S:
                self.pause_s = 0.0
            return False
        self.free += 1
        if self.free < (_FREE_LOOKS if self.seen else _FREE_LOOKS_UNSEEN) or now < self.not_before:
            return False
        self.running_since = None
        self.not_before = now + self.pause_s
        self.pause_s = min(_MAX_PAUSE_S, max(_FIRST_PAUSE_S, 2 * self.pause_s))
        return True


def supervise(folder: str, module: str, ended: Callable[[], bool]) -> None:
    """Watches a folder's lock in a thread, and runs `python -m MODULE FOLDER` when its holder died.

    Args:
        folder: whose lock the program holds.
        module: starts the program again, and returns; of several that run at once, one starts it.
        ended: whether to stop watching.
    """
    threading.Thread(target=_watch, args=(folder, module, ended), name="supervisor", daemon=True).start()


def _watch(folder: str, module: str, ended: Callable[[], bool]) -> None:
    vigil = Vigil()
    while not ended():
        # Where somebody removed the folder, nothing is to run.
        if vigil.due(is_locked(folder), time.monotonic()) and Path(folder).is_dir():
            _log.warning("the program that holds the lock of %s died: running %s", folder, module)
            try:
                done = subprocess.run(
                    # -P: a folder `headrace` in the working folder must not be imported.
                    [sys.executable, "-P", "-m", module, folder],
                    stdin=subprocess.DEVNULL,
                    check=False,
                )
            except OSError as error:
                _log.error("%s: %s", module, error)
            else:
                if done.returncode:
                    _log.error("%s ended with exit status %d", module, done.returncode)
        time.sleep(LOOK_S)
