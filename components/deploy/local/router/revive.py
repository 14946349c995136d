"""Restart of an endpoint's router that died, as a program that the processes of versions run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.components.deploy.local import control
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.core.errors import HeadraceError
from headrace.core.storage.lock import is_locked, locked

# Waits for a deployment under way, which starts the router itself.
_LOCK_TIMEOUT_S = 120.0

_log = logging.getLogger("headrace.router")


def main(arguments: Sequence[str]) -> int:
    """Starts the router, unless it runs or the endpoint was stopped or removed.

    Args:
        arguments: one argument, the router's folder within that of the endpoint.

    Returns:
        The exit status: 0 if the router runs or must not run, 2 or 75 for an error.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder = EndpointFolder(str(Path(arguments[0]).parent))
    try:
        # Checked before the lock, because locking would create a removed folder again. `endpoint stop` writes the state
        # first.
        if _port(folder):
            with locked(folder.uri, timeout_s=_LOCK_TIMEOUT_S):
                port = _port(folder)
                # If the lock is held, another process started the router. It is not replaced even if it is slow.
                if port and not is_locked(str(folder.router)):
                    control.ensure(folder, port, lambda: None)
    except HeadraceError as error:
        _log.error("%s", error.paragraph)
        return error.exit_status
    return 0


def _port(folder: EndpointFolder) -> int:
    """The port at which the router must run; 0 if none must run."""
    state = folder.read() if folder.path.is_dir() else None
    return 0 if state is None or state.stopped else state.port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
