"""Listening socket of a server, and its URL."""

from __future__ import annotations

import socket

from headrace.core.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address; port 0 is a free one.

    Raises:
        UsageError: the address is not this machine's, or in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        # A port that a server has just closed can be used again.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            "the server cannot listen on the address",
            where=f"{host}:{port}",
            expected="a free port that you are allowed to use",
            received=str(error),
            fix="Use port 0 for a free port",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of a server on this machine."""
    host, port = listener.getsockname()[:2]
    # A wildcard address is reachable on the loopback address.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
