"""Worker processes of a search, and the search's side of their protocol, which `worker` documents."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

# A terminated trial saves its state first.
_GRACE_SECONDS = 30.0


class Worker:
    """A process that runs one trial after another, and is restarted after it died.

    Args:
        log: file of the libraries' output.
        share_devices: whether other workers use the same accelerators.

    Attributes:
        log: file of the libraries' output.
    """

    def __init__(self, log: Path, *, share_devices: bool) -> None:
        self.log = log
        self._environment = {**os.environ}
        if share_devices:
            # TensorFlow would allocate all memory of each GPU for the first of them.
            self._environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        self._process: subprocess.Popen[str] | None = None
        self._heard: Any = None
        self._ended = False

    def run(
        self, request: Mapping[str, Any], listen: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
    ) -> Mapping[str, Any]:
        """Runs a trial.

        Args:
            asked: the trial, in the worker's format.
            listen: receives each event except the last; its return value is the reply.

        Returns:
            The last event: "done", "pruned" or "failed"; or "died" with the process' `status`.
        """
        process = self._start()
        if self._ended:
            # `terminate` was called before the process existed.
            process.terminate()
        try:
            self._say(process, request)
            for line in self._heard:
                if not line.endswith("\n"):
                    break  # The process died within a line.
                event: dict[str, Any] = json.loads(line)
                if event["event"] in ("done", "pruned", "failed"):
                    return event
                answer = listen(event)
                if answer is not None:
                    self._say(process, answer)
        except BrokenPipeError:
            pass  # The process is gone; its exit status is returned.
        return {"event": "died", "status": self._bury()}

    def terminate(self) -> None:
        """Makes the process save the trial's state and exit; one that starts later exits at once."""
        self._ended = True
        process = self._process
        if process is not None:
            process.terminate()

    def close(self) -> None:
        """Stops the process; one that runs a trial gets time to save it."""
        process = self._process
        if process is None:
            return
        # A closed stdin signals the end of the search to the process.
        _close(process.stdin)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        self._bury()

    def _bury(self) -> int:
        """Waits for a process that exited, or is about to, and closes its pipes; returns its status."""
        process = self._process
        if process is None:
            return 0
        status = process.wait()
        _close(process.stdin)
        self._heard.close()
        self._process = None
        return status

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._bury()
        reading, writing = os.pipe()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace.components.tune.worker", str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                env=self._environment,
                text=True,
                # The search forwards a Ctrl-C.
                start_new_session=True,
            )
        os.close(writing)
        self._heard = os.fdopen(reading, encoding="utf-8")
        return self._process

    @staticmethod
    def _say(process: subprocess.Popen[str], what: Mapping[str, Any]) -> None:
        process.stdin.write(json.dumps(what) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        # Unread output is lost with its reader.
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
