"""Server launcher: starts and stops servers as processes that outlive the command that started them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from headrace.components.deploy.local import client
from headrace.components.deploy.local.server_process import ServerProcess
from headrace.components.deploy.serving import ServerOptions
from headrace.components.serve import processes
from headrace.components.serve.processes import Announcement
from headrace.core import storage
from headrace.core.errors import PlatformError

# The processes of versions run it if the endpoint's router died.
_REVIVE = "headrace.components.deploy.local.router.revive"
_SECONDS_BETWEEN_LOOKS = 0.05
# A graceful shutdown finishes running requests; the server's time limit per request is 30 s.
_STOP_TIMEOUT_S = 35.0
_LOG_LIMIT_BYTES = 10 << 20
_TAIL_LINES = 20


def start(
    model: Path,
    name: str,
    version: str,
    *,
    serving: ServerOptions,
    servers: Path,
    log: Path,
    lock: int,
    timeout_s: float,
    waiting: Callable[[], None],
) -> Announcement:
    """Starts a server for a Model on a free port of this machine, and waits until it responds.

    The server holds `lock` until it has announced itself in `servers`, so that the next holder of the lock finds it,
    even if this process is killed.

    Args:
        model: the Model's folder.
        name: the model's name in URLs.
        version: version that the server must report.
        serving: options of the server.
        servers: folder in which servers announce themselves.
        log: file of the server's output.
        lock: descriptor of the endpoint's lock.
        timeout_s: maximum time of the start, in seconds.
        waiting: called repeatedly while it waits. If it raises, the server is killed.

    Returns:
        The announcement of the server.

    Raises:
        PlatformError: the server exited, or did not respond in time; the error contains the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    with storage.writing(str(log)):
        servers.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        output = log.open("ab")
    with output:
        begin = output.tell()
        process = ServerProcess.start(
            [
                *(str(model), "--name", name, "--port", "0"),
                *serving.arguments,
                *serving.log_arguments(str(servers.with_name("requests"))),
                *("--host", "127.0.0.1", "--announce", str(servers)),
                *("--supervise", str(servers.with_name("router")), _REVIVE),
            ],
            lock=lock,
            output=output.fileno(),
            folder=model.parent,
        )
    try:
        while time.monotonic() < deadline:
            if exited := process.exited():
                raise PlatformError(f"the server exited {exited}", where=str(log), received=tail(log, begin))
            server = processes.read(str(servers), process.pid)
            if server is not None and server.url is not None and client.healthy(server.url, version):
                return server
            waiting()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        raise PlatformError(
            "the server did not respond in time",
            where=str(log),
            expected=f"a response within {timeout_s:g} s",
            received=tail(log, begin),
        )
    except BaseException:
        process.kill()
        processes.withdraw(str(servers), process.pid)
        raise


def stop(server: Announcement, servers: Path, *, timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """Stops a server: sends SIGTERM, and SIGKILL after `timeout_s` seconds. If it is gone, nothing happens.

    Raises:
        PlatformError: this process is not allowed to stop it, or it still runs.
    """
    try:
        for number, patience in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 10.0)):
            if not processes.runs(server):
                break
            os.kill(server.pid, number)
            deadline = time.monotonic() + patience
            while processes.runs(server) and time.monotonic() < deadline:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise PlatformError(
            "the server cannot be stopped", where=f"process {server.pid}", fix="Stop it as the user who started it"
        ) from error
    if processes.runs(server):
        raise PlatformError(
            "the server cannot be stopped", where=f"process {server.pid}", received="the process still runs"
        )
    processes.withdraw(str(servers), server.pid)


def tail(log: Path, begin: int) -> str:
    """The last 20 lines of a log, at most 8 KiB, after the byte `begin`."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - 8192))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-_TAIL_LINES:]) or "an empty log"
