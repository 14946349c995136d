"""Router control: starts the router of an endpoint, finds the running router, and stops it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from headrace.components.deploy.local import client
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.launcher import tail
from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.storage.lock import is_locked

MODULE = "headrace.components.deploy.local.router"
HOST = "127.0.0.1"
# Below the ports that Linux uses for outgoing connections, so that the port of a stopped endpoint stays free.
_PORTS = range(20_000, 32_768)
_TRIES = 50
_SECONDS_BETWEEN_LOOKS = 0.05
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 40.0
_KILL_TIMEOUT_S = 10.0
_REPORT_TIMEOUT_S = 5.0
_MAX_REPORT_BYTES = 1 << 20
_LOG_LIMIT_BYTES = 10 << 20


def report_at(folder: EndpointFolder, port: int) -> Mapping[str, Any] | None:
    """The report of the endpoint's router at a port; None if it does not respond, or another program does."""
    try:
        status, content = client.request(
            f"http://{HOST}:{port}", "/endpoint", timeout_s=_REPORT_TIMEOUT_S, max_bytes=_MAX_REPORT_BYTES
        )
    except PlatformError:
        return None
    return (
        content if status == 200 and isinstance(content, dict) and content.get("folder") == str(folder.path) else None
    )


def something_answers(port: int) -> bool:
    """Whether any program accepts connections at a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def check_port(port: int) -> None:
    """Checks a port; 0 is valid.

    Raises:
        UsageError: the port is not in the range 0 to 65535.
    """
    if not 0 <= port <= 65535:
        raise UsageError("the port is not valid", where="port", expected="0 to 65535", received=str(port))


def free_port() -> int:
    """A port of this machine on which no program listens.

    Raises:
        PlatformError: no port is free.
    """
    # Not from the process's random numbers: training seeds them, and processes with one seed would choose one port.
    for port in [*random.SystemRandom().sample(_PORTS, _TRIES), 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PlatformError("this machine has no free port")


def ensure(folder: EndpointFolder, port: int, waiting: Callable[[], None]) -> None:
    """Starts the endpoint's router at a port, unless it runs there. The caller holds the endpoint's lock.

    Args:
        folder: folder of the endpoint.
        port: port of this machine.
        waiting: called repeatedly while it waits.

    Raises:
        UsageError: the port is in use, or not allowed.
        PlatformError: the router does not start, or does not respond within 120 s.
    """
    if is_locked(str(folder.router)):
        if report_at(folder, port) is not None:
            return
        # The running router listens at another port, or hangs.
        stop(folder)
    process, begin = _launch(folder, port)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while report_at(folder, port) is None:
        if process.returncode is not None:
            kind = UsageError if process.returncode == UsageError.exit_status else PlatformError
            raise kind(
                "the router did not start", where=str(folder.router_log), received=tail(folder.router_log, begin)
            )
        if time.monotonic() > deadline:
            process.kill()
            raise PlatformError(
                "the router did not answer in time",
                where=str(folder.router_log),
                expected=f"an answer within {_START_TIMEOUT_S:g} s",
                received=tail(folder.router_log, begin),
            )
        waiting()
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _launch(folder: EndpointFolder, port: int) -> tuple[subprocess.Popen[bytes], int]:
    log = folder.router_log
    with storage.writing(str(log)):
        folder.router.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        output = log.open("ab")
    with output:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, str(folder.path), "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            close_fds=True,
            # The terminal's Ctrl-C and hang-up are for this process only.
            start_new_session=True,
            cwd=folder.path,
            # Inside Vertex AI these variables describe another server.
            env={key: value for key, value in os.environ.items() if not key.startswith("AIP_")},
        )
    # If the router exits while this process still runs, its exit status must be collected.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()
    return process, begin


def stop(folder: EndpointFolder) -> None:
    """Stops the endpoint's router, after the requests under way. If it does not run, nothing happens.

    Raises:
        PlatformError: this process is not allowed to stop it, or it still runs after SIGKILL.
    """
    for number, patience in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        deadline = time.monotonic() + patience
        sent = False
        while is_locked(str(folder.router)) and time.monotonic() < deadline:
            pid = _pid(folder)
            if pid is not None and not sent:
                _signal(pid, number)
                sent = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    if is_locked(str(folder.router)):
        raise PlatformError("the router cannot be stopped", where=str(folder.router), received="the process still runs")


def _pid(folder: EndpointFolder) -> int | None:
    """Process id of the router, from the lock file that it holds; None if it is unknown."""
    try:
        return int((folder.router / ".lock").read_text())
    except (OSError, ValueError):
        return None


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise PlatformError(
            "the router cannot be stopped", where=f"process {pid}", fix="Stop it as the user who started it"
        ) from error
