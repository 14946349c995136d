"""Asking a server within bounds, and comparing what it says."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

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


GOLDEN: list[dict[str, Any]] = [
    {"key": "a", "prediction": 100.0, "probabilities": [0.25, 0.75]},
    {"key": "b", "prediction": 0.00001, "probabilities": [1.0, 0.0]},
]


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (0, {"prediction": 100.0009}),
        (1, {"prediction": 0.00002}),
        (1, {"probabilities": [1.0, 5e-7]}),
        (0, {"more": "is not looked at"}),
    ],
)
def test_what_float32_cannot_tell_apart_is_equal(row: int, change: dict[str, Any]) -> None:
    received = [dict(r) for r in GOLDEN]
    received[row].update(change)
    client.compare(received, GOLDEN, where="there")


@pytest.mark.parametrize(
    ("row", "change", "where"),
    [
        (0, {"prediction": 100.01}, "predictions[0].prediction"),
        (1, {"prediction": 0.001}, "predictions[1].prediction"),
        (1, {"prediction": None}, "predictions[1].prediction"),
        (0, {"prediction": "100.0"}, "predictions[0].prediction"),
        (0, {"prediction": float("nan")}, "predictions[0].prediction"),
        (0, {"prediction": True}, "predictions[0].prediction"),
        (0, {"key": "b"}, "predictions[0].key"),
        (1, {"probabilities": [1.0]}, "predictions[1].probabilities"),
        (1, {"probabilities": [0.0, 1.0]}, "predictions[1].probabilities"),
    ],
)
def test_what_differs_is_named(row: int, change: dict[str, Any], where: str) -> None:
    received = [dict(r) for r in GOLDEN]
    received[row].update(change)
    with pytest.raises(PlatformError, match="differs from the model's golden row") as caught:
        client.compare(received, GOLDEN, where="there")
    assert caught.value.where == f"there, {where}"


@pytest.mark.parametrize("received", [[], GOLDEN[:1], [*GOLDEN, {}]])
def test_each_row_is_answered_once(received: list[Any]) -> None:
    with pytest.raises(PlatformError, match="a different number of predictions"):
        client.compare(received, GOLDEN, where="there")


def test_rows_that_are_no_objects_differ() -> None:
    with pytest.raises(PlatformError, match="differs from the model's golden row"):
        client.compare([1.0, 2.0], GOLDEN, where="there")
