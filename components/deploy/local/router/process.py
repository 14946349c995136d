"""Router process: listens at the endpoint's port while the endpoint exists, and follows its folder."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.router.app import RouterApp, counts_in
from headrace.components.deploy.local.router.front import Front
from headrace.components.deploy.local.router.versions import Versions
from headrace.components.request_log.counts import VersionCounts
from headrace.core import storage
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.storage.lock import locked

HOST = "127.0.0.1"
_SECONDS_BETWEEN_REPORTS = 1.0
# A deployment writes endpoint.json right after the start of its first router.
_FIRST_STATE_S = 30.0
_END_S = 35.0
_BACKLOG = 2048
# The processes of versions check twice per second whether a router holds the lock, and hold it during the check. A
# process that loads a model may be paused during the check.
_LOCK_TIMEOUT_S = 10.0

_log = logging.getLogger("headrace.router")


async def route(folder: EndpointFolder, listener: socket.socket) -> None:
    """Routes requests until SIGTERM or SIGINT, then completes those under way.

    Args:
        folder: folder of the endpoint.
        listener: socket at the endpoint's address.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    versions = Versions(folder)
    app = RouterApp(versions, _earlier(folder))
    with contextlib.suppress(HeadraceError):
        versions.look()
    front = Front(app.answer)
    server = await loop.create_server(front.client, sock=listener, backlog=_BACKLOG)
    watching = [asyncio.create_task(task) for task in (versions.watch(), _report(app), _orphaned(versions, ended))]
    _log.info("routing at port %d", listener.getsockname()[1])
    await ended.wait()
    server.close()
    await front.end(_END_S)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await versions.end()
    storage.write_json(folder.router_state, app.report())


async def _report(app: RouterApp) -> None:
    """Writes the report when a count or a process changes, so that the next router continues the counts."""
    before: dict[str, Any] = {}
    while True:
        report = app.report()
        if report != before:
            try:
                await asyncio.to_thread(storage.write_json, app.versions.folder.router_state, report)
                before = report
            except HeadraceError as error:
                _log.error("%s", error.paragraph)
        await asyncio.sleep(_SECONDS_BETWEEN_REPORTS)


async def _orphaned(versions: Versions, ended: asyncio.Event) -> None:
    """Ends the router if the endpoint was stopped or removed, or its first deployment was killed."""
    since = time.monotonic()
    while True:
        state = versions.state
        if state is not None and not state.stopped and versions.folder.path.is_dir():
            since = time.monotonic()
        elif time.monotonic() - since > _FIRST_STATE_S:
            ended.set()
        await asyncio.sleep(_SECONDS_BETWEEN_REPORTS)


def _earlier(folder: EndpointFolder) -> dict[str, VersionCounts]:
    if not storage.exists(folder.router_state):
        return {}
    try:
        return counts_in(storage.read_json(folder.router_state))
    except DataError as error:
        _log.warning("%s The counts begin at 0.", error.paragraph)
        return {}


def listen(port: int) -> socket.socket:
    """Listens on a port of this machine.

    Raises:
        UsageError: the port is in use, or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            "the endpoint cannot listen at its address",
            where=f"{HOST}:{port}",
            expected="a free port that you are allowed to use",
            received=error.strerror or str(error),
            fix="Stop what listens there, or move the endpoint: headrace endpoint start ENDPOINT --port PORT",
        ) from error
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Routes from a command line: the endpoint's folder and its port.

    Returns:
        The exit status: 0 after a graceful shutdown, 2 or 75 for an error.
    """
    parser = argparse.ArgumentParser(prog="python -m headrace.components.deploy.local.router", description=__doc__)
    parser.add_argument("endpoint", help="Folder of the endpoint.")
    parser.add_argument("--port", type=int, required=True, help="Port of the endpoint on this machine.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder = EndpointFolder(options.endpoint)
    try:
        with locked(str(folder.router), timeout_s=_LOCK_TIMEOUT_S) as lock, listen(options.port) as listener:
            # `control.stop` reads the process id from the lock file.
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            asyncio.run(route(folder, listener))
    except HeadraceError as error:
        _log.error("%s", error.paragraph)
        return error.exit_status
    except Exception:
        _log.exception("unexpected internal error")
        return PlatformError.exit_status
    return 0
