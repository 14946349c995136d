"""Asking a server within bounds, and comparing what it says."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest

from headrace.components.deploy.local import client
from headrace.core import http
from headrace.core.errors import PlatformError


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request and then does as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    talk(connection)
                except OSError:
                    # The client had enough.
                    return

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def whole(body: bytes) -> Callable[[socket.socket], None]:
    return lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def silent(connection: socket.socket) -> None:
    """Waits until the client has had enough."""
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """Sends until the client has had enough."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" ")


def test_an_answer() -> None:
    with server(whole(b'{"a": 1}')) as url:
        assert client.request(url, "/x", body={}) == (200, {"a": 1})


def test_each_answer_that_is_none() -> None:
    with server(whole(b"<html>")) as url, pytest.raises(PlatformError, match=r"not JSON\. Received: b'<html>'"):
        client.request(url, "/x")
    with server(whole(b"1" * 2000)) as url, pytest.raises(PlatformError, match="at most 1000 bytes"):
        client.request(url, "/x", max_bytes=1000)
    with server(lambda _: None) as url, pytest.raises(PlatformError, match="the server does not respond"):
        client.request(url, "/x")
    with (
        server(lambda c: c.sendall(b"nonsense\r\n\r\n")) as url,
        pytest.raises(PlatformError, match="does not respond"),
    ):
        client.request(url, "/x")
    with server(silent) as url, pytest.raises(PlatformError, match="timed out"):
        client.request(url, "/x", timeout_s=0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(PlatformError, match="refused"):
        client.request(closed, "/x")
    assert not client.healthy(closed, "v1")


def test_a_server_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # A second passes at each look: no piece is late, and the whole is.
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=partial(next, itertools.count())))
    with server(drip) as url, pytest.raises(PlatformError, match=r"did not end within 60 s"):
        client.request(url, "/x", timeout_s=60)


def test_health_is_of_the_version_that_is_meant() -> None:
    for version, expected in (("v1", True), ("v2", False)):
        with server(whole(b'{"status": "ok", "model_version": "v1"}')) as url:
            assert client.healthy(url, version) is expected
