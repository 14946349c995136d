"""Server process: a daemon with the server of an endpoint, forked by the fork server if there is one, else new."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headrace.components.serve.processes import MODULE
from headrace.core.errors import PlatformError
from headrace.core.steps.fork_server import FORK_SERVER, ForkRequest, descriptor
from headrace.core.steps.step import PRELOADED_BYTES

# Maximum time that a killed process takes to end, in seconds.
_KILLED_S = 10.0


class ServerProcess:
    """A started server.

    Attributes:
        pid: process id.
    """

    def __init__(self, pid: int, process: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self._process = process
        if process is not None:
            # If the server exits while this process still runs, its exit status must be collected.
            threading.Thread(target=process.wait, name="reaper", daemon=True).start()

    @classmethod
    def start(cls, arguments: Sequence[str], *, lock: int, output: int, folder: Path) -> ServerProcess:
        """Starts `python -m MODULE` with arguments, and with `--inherited-lock`.

        Args:
            arguments: arguments of the server.
            lock: descriptor of a lock that the server inherits.
            output: descriptor of its output.
            folder: its working folder.

        Raises:
            PlatformError: the fork server was killed during the request, or could not fork.
        """
        # Inside Vertex AI, variables with this prefix describe another server. `mine` are only for this process.
        mine = {FORK_SERVER, PRELOADED_BYTES}
        environment = {
            name: value for name, value in os.environ.items() if name not in mine and not name.startswith("AIP_")
        }
        if fork_server := os.environ.get(FORK_SERVER):
            request = ForkRequest(
                f"{MODULE}:run",
                [*arguments, "--inherited-lock", descriptor(0)],
                environment,
                str(folder),
                detached=True,
            )
            with socket.socket(fileno=os.dup(int(fork_server))) as connection:
                if answers := request.send(connection, output, [lock]):
                    return cls(_pid_in(answers.readline()), None)
        process = subprocess.Popen(
            # -P: a folder `components` or a file `numpy.py` in the working folder must not be imported.
            [sys.executable, "-P", "-m", MODULE, *arguments, "--inherited-lock", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A caller that reads this process's output would otherwise wait until the server exits.
            close_fds=True,
            pass_fds=(lock,),
            # The terminal's Ctrl-C and hang-up are for this process only.
            start_new_session=True,
            cwd=folder,
            env=environment,
        )
        return cls(process.pid, process)

    def exited(self) -> str | None:
        """How the process exited, as the end of a sentence; None while it runs."""
        if self._process is not None:
            return None if self._process.returncode is None else f"with status {self._process.returncode}"
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return "before it responded"
        return None

    def kill(self) -> None:
        """Kills the process, if it still runs, and waits for its end, which takes a busy machine a moment."""
        if self.exited() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + _KILLED_S
        while self.exited() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def _pid_in(answer: bytes) -> int:
    if not answer.strip():
        # The server may run nevertheless, and a second one would compete with it.
        raise PlatformError(
            "the server was not started",
            expected="its process id from the process that forks it",
            received="no answer: that process was killed, or could not fork",
            fix="Run the same command again",
        )
    return int(answer)
