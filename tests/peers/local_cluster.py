"""Clusters of real processes on this machine, told of each other by TF_CONFIG."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from headrace.components.deploy.local.control import free_port


def free_ports(count: int) -> list[int]:
    """Different ports that were free a moment ago."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


class LocalCluster:
    """Processes that run one command, each as its own task.

    Args:
        tasks: how many of each type: {"worker": 2}, or {"chief": 1, "worker": 2}.
        command: what each runs; "{task}" and "{index}" in it are replaced.
        folder: where what they print goes, a file each.
        variable: TF_CONFIG, or CLUSTER_SPEC with Vertex AI's names of pools.
    """

    _POOLS: ClassVar[Mapping[str, str]] = {
        "chief": "workerpool0",
        "worker": "workerpool1",
    }

    def __init__(
        self,
        tasks: Mapping[str, int],
        command: Sequence[str],
        folder: Path,
        *,
        variable: str = "TF_CONFIG",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        ports = iter(free_ports(sum(tasks.values())))
        names = self._POOLS if variable == "CLUSTER_SPEC" else {task: task for task in tasks}
        self._addresses = {
            names[task]: [f"127.0.0.1:{next(ports)}" for _ in range(count)] for task, count in tasks.items()
        }
        self._names, self._command, self._folder = names, list(command), folder
        self._variable, self._environment = variable, dict(environment or {})
        self.processes: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for task, count in tasks.items():
            for index in range(count):
                self.start(task, index)

    def start(self, task: str, index: int) -> subprocess.Popen[bytes]:
        """Starts a process, perhaps in place of one that ended."""
        told: dict[str, Any] = {"cluster": self._addresses, "task": {"type": self._names[task], "index": index}}
        environment = {**os.environ, **self._environment, self._variable: json.dumps(told), "CUDA_VISIBLE_DEVICES": ""}
        words = [word.replace("{task}", task).replace("{index}", str(index)) for word in self._command]
        with self.printed_by(task, index).open("ab") as output:
            process = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.processes[task, index] = process
        return process

    def printed_by(self, task: str, index: int) -> Path:
        """The file with what a process printed."""
        return self._folder / f"{task}-{index}.log"

    def wait(self, seconds: float) -> dict[tuple[str, int], int]:
        """The exit status of each, after all of them ended.

        Raises:
            TimeoutError: one did not end in time; all of them are killed.
        """
        end = time.monotonic() + seconds
        try:
            return {key: one.wait(max(0.1, end - time.monotonic())) for key, one in self.processes.items()}
        except subprocess.TimeoutExpired as error:
            running = [key for key, one in self.processes.items() if one.poll() is None]
            tails = "\n".join(f"{key}: {self.printed_by(*key).read_text()[-1500:]}" for key in running)
            raise TimeoutError(f"still running after {seconds} s: {tails}") from error
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends what still runs, at once."""
        for process in self.processes.values():
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.kill()
                process.wait()
