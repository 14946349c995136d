"""Our own server as a process, for tests of what asks it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.components.serve import processes


@contextmanager
def our_server(model: str, folder: Path, *options: str) -> Iterator[str]:
    """Where it answers for a model, with options; it says in `folder` that it is ready."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", processes.MODULE, model, "--port", "0", "--ready-file", str(ready), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        waiting = threading.Event()
        while not ready.exists():
            if process.poll() is not None:
                raise RuntimeError(str(process.communicate()))
            waiting.wait(0.05)
        yield json.loads(ready.read_text())["url"]
    finally:
        process.kill()
        process.communicate()
