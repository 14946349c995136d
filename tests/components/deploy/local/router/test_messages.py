"""HTTP messages of the router: what is parsed, what is refused, and that pieces make no difference."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.deploy.local.router.messages import (
    BadMessage,
    Body,
    Head,
    answered,
    forwarded,
    request_head,
    response_head,
)


def test_a_request_is_forwarded_without_what_is_of_its_connection() -> None:
    head = request_head(
        b"POST /v1/models/n:predict?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n"
        b"Keep-Alive: 5\r\nTE: trailers\r\nX-Trace: 7"
    )
    assert (head.method, head.target, head.length, head.keep) == (b"POST", b"/v1/models/n:predict?x=1", 2, False)
    assert forwarded(head, b"{}") == (
        b"POST /v1/models/n:predict?x=1 HTTP/1.1\r\nhost: a\r\nx-trace: 7\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [(b"1", b"", True), (b"1", b"close", False), (b"0", b"", False), (b"0", b"Keep-Alive", True)],
)
def test_whether_a_connection_stays(version: bytes, connection: bytes, keep: bool) -> None:
    assert request_head(b"GET / HTTP/1.%s\r\nConnection: %s" % (version, connection)).keep is keep


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/2.0", 400),
        (b"get / HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"", 400),
        (b"GET / HTTP/1.1\r\nA : b", 400),
        (b"GET / HTTP/1.1\r\n folded: b", 400),
        (b"GET / HTTP/1.1\r\nA: b\x00", 400),
        (b"GET / HTTP/1.1\r\nA: b\nC: d", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +1", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1, 1", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        (b"GET / HTTP/1.1" + b"\r\nA: b" * 101, 431),
    ],
)
def test_requests_that_are_refused(head: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as refused:
        request_head(head)
    assert refused.value.status == status


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(0, 400), max_size=8),
    st.booleans(),
)
def test_a_body_is_the_same_in_whatever_pieces(
    chunks: list[bytes], after: bytes, cuts: list[int], trailer: bool
) -> None:
    whole = b"".join(chunks)
    end = b"0;x=1\r\nA: b\r\n\r\n" if trailer else b"0\r\n\r\n"
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end
    for length, sent in ((None, chunked), (len(whole), whole)):
        body, rest = Body(length, 1000), b""
        for piece in in_pieces(sent + after, cuts):
            rest += piece if body.done else body.feed(piece)
        assert (body.done, body.content(), rest) == (True, whole, after)


@pytest.mark.parametrize(
    "sent", [b"x\r\n", b"-1\r\n", b"1\r\nab\r\n", b"1\nab", b"0" * 1100, b"5 5\r\n", b"\r\n", b"ffffffffffffff\r\n"]
)
def test_chunks_that_are_refused(sent: bytes) -> None:
    with pytest.raises(BadMessage):
        Body(None, 1000).feed(sent)


def test_bodies_that_are_too_large() -> None:
    for length, sent in ((1001, b""), (None, b"3e9\r\n"), (-1, b"x" * 1001)):
        with pytest.raises(BadMessage, match="Expected at most 1000 bytes"):
            Body(length, 1000).feed(sent)
    with pytest.raises(BadMessage, match="more than 16384 chunks"):
        Body(None, 1 << 20).feed(b"1\r\nx\r\n" * 16_385)


def test_responses() -> None:
    head = response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Model-Version: v1", bodiless=False)
    assert (head.status, head.length, head.keep) == (200, 2, True)
    assert answered(head, b"{}", keep=True) == b"HTTP/1.1 200 OK\r\nx-model-version: v1\r\ncontent-length: 2\r\n\r\n{}"
    assert answered(head, b"", keep=False, bodiless=True) == (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\nx-model-version: v1\r\n\r\n"
    )
    # Without a length the end of the connection is the end of the body.
    head = response_head(b"HTTP/1.1 200 OK", bodiless=False)
    assert (head.length, head.keep) == (-1, False)
    assert response_head(b"HTTP/1.1 204 No Content", bodiless=False).length == 0
    assert response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 9", bodiless=True).length == 0
    for bad in (b"HTTP/1.1 100 Continue", b"HTTP/1.1 20 OK", b"nonsense"):
        with pytest.raises(BadMessage):
            response_head(bad, bodiless=False)


def test_the_first_value_of_a_header() -> None:
    assert Head(headers=[(b"a", b"1"), (b"a", b"2")]).get(b"a") == b"1"
    assert Head().get(b"a") is None
