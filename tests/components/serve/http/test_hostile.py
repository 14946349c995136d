"""The server's port under attack by raw bytes: one process, all cases."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.hostile_cases import cases
from support.hostile_http import GOOD, Case, played, post

from headrace.components.serve import processes

# What the largest body that is accepted takes while it is parsed, and what the allocator keeps.
_MOST_BYTES = 512 << 20
_GOOD = Case("a good request", post(GOOD), (200,), "open")


@contextmanager
def started(model: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server's process and its port; its log is `server.log`."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", processes.MODULE, str(model), "--port", "0", "--ready-file", str(ready)]
    with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while not ready.exists():
                assert process.poll() is None
                time.sleep(0.05)
            yield process, int(json.loads(ready.read_text())["url"].rpartition(":")[2])
        finally:
            process.terminate()


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def test_hostile_bytes_get_4xx_and_hurt_nobody(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    all_cases = cases()
    assert len({case.name for case in all_cases}) == len(all_cases) > 200
    with started(make_model(tmp_path / "model", "v1"), tmp_path) as (process, port):
        assert played(port, _GOOD) == [200]
        before = peak_bytes(process.pid)
        for case in all_cases:
            assert (case.name, played(port, case)) == (case.name, list(case.statuses))
            assert (case.name, played(port, _GOOD)) == (case.name, [200])
        assert peak_bytes(process.pid) - before < _MOST_BYTES
    assert process.returncode == 0
    log = (tmp_path / "server.log").read_text()
    assert "Traceback" not in log
    assert " ERROR headrace" not in log
