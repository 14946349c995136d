"""One HTTP request is bounded in time as a whole."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from headrace.core import http
from tests.support.raw_server import answering


@pytest.mark.parametrize(
    "begin",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\n\r\n", b""],
    ids=["header", "status", "body", "nothing"],
)
def test_a_response_that_drips_without_end_ends_the_request_in_time(begin: bytes) -> None:
    # A read never waits for longer than a twentieth of the timeout.
    def drip() -> Iterator[bytes]:
        yield begin
        for _ in itertools.count():
            threading.Event().wait(0.02)
            yield b"a"

    with answering(drip()) as port, http.pool() as pool, pytest.raises(http.RequestFailed):
        http.send(pool, "GET", f"http://127.0.0.1:{port}/", timeout_s=0.4, max_bytes=1 << 20)


def test_a_response_in_time_is_returned() -> None:
    with answering([b"HTTP/1.1 204 No Content\r\n\r\n"]) as port, http.pool() as pool:
        assert http.send(pool, "GET", f"http://127.0.0.1:{port}/", timeout_s=60.0, max_bytes=10).status == 204
