"""Launchers of google-cloud-pipeline-components, run in one process for all tests of a module."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.pipeline_engine import Call, TaskFailed

# What the process begins its answers with.
ANSWER = "answer: "


@dataclass
class Launching:
    """The process; it runs one launcher at a time.

    Attributes:
        address: the file that says which server it asks.
    """

    process: subprocess.Popen[str]
    address: Path

    def of(self, server: Any, scratch: Path) -> Callable[[Call], dict[str, Any]]:
        """Runs a task's launcher to its end, and gives what it gave; as what a task does.

        Raises:
            TaskFailed: it ended with another status than 0.
        """
        from peers.vertex import containers

        def run(call: Call) -> dict[str, Any]:
            self._begin(call, server, scratch)
            status, said = self._end()
            told = containers.read_outputs(containers.executor_input(call, scratch))
            if status:
                # Vertex AI shows the job that a launcher has written down while that still waits for it.
                raise TaskFailed(f"exited with a non-zero status of {status}. {said}", told)
            return told

        return run

    def cancelled(self, call: Call, server: Any, scratch: Path) -> int:
        """Runs a task's launcher until it has looked at its job once, and sends it what Vertex AI sends then."""
        return self.ended_by(signal.SIGTERM, call, server, scratch)

    def ended_by(self, sent: signal.Signals, call: Call, server: Any, scratch: Path) -> int:
        """Runs a task's launcher until it has looked at its job once, and sends it a signal.

        The process ends with it: this is the last launcher of a module.

        Returns:
            Its exit status.
        """
        self._begin(call, server, scratch)
        kinds = ("customJobs", "batchPredictionJobs", "hyperparameterTuningJobs")
        prefixes = tuple(f"GET projects/demo-project/locations/us-central1/{kind}/" for kind in kinds)
        while not any(request.startswith(prefixes) for request in server.requests):
            assert self.process.poll() is None
            time.sleep(0.02)
        self.process.send_signal(sent)
        return self.process.wait()

    def _begin(self, call: Call, server: Any, scratch: Path) -> None:
        from peers.vertex import containers

        (scratch / call.task).mkdir(exist_ok=True)
        self.address.write_text(server.url)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(containers.command(call, scratch)) + "\n")
        self.process.stdin.flush()

    def _end(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                status, said = json.loads(line.removeprefix(ANSWER))
                return status, said
        return self.process.wait(), ""


@contextmanager
def launching(folder: Path) -> Iterator[Launching]:
    """The process, with a folder of its own."""
    from peers.vertex import containers

    address = folder / "address"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("launching.py"))],
        env={**containers.environment(""), "HEADRACE_TEST_VERTEX": f"@{address}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield Launching(process, address)
        finally:
            process.kill()
