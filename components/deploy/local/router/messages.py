"""HTTP/1.1 messages: strict parsing of requests and responses from bytes, with limits of their size and counts.

If a router parses a message differently from the server behind it, an attacker can mix up the requests of two clients
(request smuggling). Therefore ambiguous messages are refused: two lengths, a length with chunks, folded headers, spaces
before a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_HEAD_BYTES = 32 << 10
_MAX_HEADERS = 100
# A client that sends a body byte by byte in chunks would keep the event loop busy.
_MAX_CHUNKS = 16_384
_MAX_CHUNK_LINE = 1024

_REQUEST = re.compile(rb"([A-Z]{1,16}) ([!-~]{1,8192}) HTTP/1\.([01])\Z")
# The absolute form of a target, for proxies (RFC 9112, section 3.2.2); its host replaces that of the header.
_ABSOLUTE = re.compile(rb"https?://([A-Za-z0-9._~:\[\]%-]{1,300})(|[/?#].*)\Z", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.([01]) ([2-5][0-9]{2})(?: [^\r\n]*)?\Z")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE = re.compile(rb"[^\x00\r\n]*\Z")
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\Z")
# Hop-by-hop headers, which are not forwarded (RFC 9110, section 7.6.1).
_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
     b"content-length", b"expect")
)  # fmt: skip

Headers = list[tuple[bytes, bytes]]


class BadMessage(Exception):
    """A message that is not valid, with the HTTP status of the response to it."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


@dataclass
class Head:
    """First line and headers of a message.

    Attributes:
        method: method of a request; b"" for a response.
        target: path and query of a request; b"" for a response.
        status: status of a response; 0 for a request.
        headers: headers in order, with names in lower case.
        length: length of the body in bytes; None for chunks, -1 for a response that ends with its connection.
        keep: whether the connection may be reused.
    """

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    headers: Headers = field(default_factory=list)
    length: int | None = 0
    keep: bool = True

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header, by its name in lower case."""
        return next((value for key, value in self.headers if key == name), None)


def request_head(block: bytes) -> Head:
    """Parses the head of a request.

    Args:
        block: all bytes before the empty line.

    Raises:
        BadMessage: the head is not valid, or ambiguous.
    """
    first, *lines = block.split(b"\r\n")
    found = _REQUEST.match(first)
    if found is None:
        raise BadMessage(400, "the request line is not valid")
    head = Head(method=found[1], target=found[2], headers=_headers(lines))
    if head.method == b"CONNECT":
        raise BadMessage(400, "a tunnel is not possible")
    absolute = _ABSOLUTE.match(head.target)
    if absolute is not None:
        head.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        head.headers = [(b"host", absolute[1]), *(one for one in head.headers if one[0] != b"host")]
    elif not head.target.startswith(b"/"):
        raise BadMessage(400, "the target of the request is not a path")
    elif sum(name == b"host" for name, _ in head.headers) > 1:
        raise BadMessage(400, "the host is ambiguous")
    head.length = _length(head, default=0)
    if head.length is None and found[3] == b"0":
        raise BadMessage(400, "HTTP/1.0 has no chunks")
    head.keep = _keeps(head, found[3])
    return head


def response_head(block: bytes, *, bodiless: bool) -> Head:
    """Parses the head of a response.

    Args:
        block: all bytes before the empty line.
        bodiless: whether the request's method is HEAD, whose responses have no body.

    Raises:
        BadMessage: the head is not valid, or ambiguous.
    """
    first, *lines = block.split(b"\r\n")
    found = _STATUS.match(first)
    if found is None:
        raise BadMessage(502, "the status line is not valid")
    head = Head(status=int(found[2]), headers=_headers(lines))
    head.length = 0 if bodiless or head.status in (204, 304) else _length(head, default=-1)
    head.keep = head.length != -1 and _keeps(head, found[1])
    return head


def _headers(lines: list[bytes]) -> Headers:
    if len(lines) > _MAX_HEADERS:
        raise BadMessage(431, f"there are more than {_MAX_HEADERS} headers")
    headers: Headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.match(name) or not _VALUE.match(value):
            raise BadMessage(400, "a header is not valid")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


def _length(head: Head, *, default: int) -> int | None:
    lengths = {value for name, value in head.headers if name == b"content-length"}
    codings = [value.lower() for name, value in head.headers if name == b"transfer-encoding"]
    if codings:
        if lengths or codings != [b"chunked"]:
            raise BadMessage(400, "the length of the body is ambiguous")
        return None
    if not lengths:
        return default
    (length,) = lengths if len(lengths) == 1 else (b"",)
    if not _LENGTH.match(length):
        raise BadMessage(400, "Content-Length is not valid")
    return int(length)


def _options(head: Head) -> set[bytes]:
    """The members of all Connection headers, in lower case: options, and names of hop-by-hop headers."""
    values = [value for name, value in head.headers if name == b"connection"]
    return {option.strip(b" \t") for value in values for option in value.lower().split(b",")}


def _keeps(head: Head, minor: bytes) -> bool:
    options = _options(head)
    return b"close" not in options and (minor == b"1" or b"keep-alive" in options)


class Body:
    """Body of one message, from the bytes after its head.

    Args:
        length: as of `Head`.
        max_bytes: maximum size of the body, in bytes.

    Raises:
        BadMessage: the declared length exceeds `max_bytes`.
    """

    def __init__(self, length: int | None, max_bytes: int) -> None:
        self.size = 0
        self.done = length == 0
        self._left = length
        self._max = max_bytes
        self._parts: list[bytes] = []
        self._chunks = 0
        self._trailers = 0
        self._line = bytearray()
        # For a chunked body: bytes left of the chunk, and the expected next part.
        self._chunk_left = 0
        self._expects = "size"
        if length is not None and length > max_bytes:
            raise self._too_large()

    def feed(self, data: bytes) -> bytes:
        """Reads bytes of the body, and returns the bytes after its end.

        Raises:
            BadMessage: the body is too large, or its chunks are not valid.
        """
        if self._left is None:
            return self._feed_chunked(data)
        mine = data if self._left < 0 else data[: self._left]
        self._add(mine)
        if self._left >= 0:
            self._left -= len(mine)
            self.done = self._left == 0
        return data[len(mine) :]

    def end(self) -> bool:
        """Whether the end of the connection is the end of this body."""
        self.done = self.done or self._left == -1
        return self.done

    def content(self) -> bytes:
        """The whole body."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max:
            raise self._too_large()
        if data:
            self._parts.append(data)

    def _too_large(self) -> BadMessage:
        return BadMessage(413, f"the body is too large. Expected at most {self._max} bytes.")

    def _feed_chunked(self, data: bytes) -> bytes:
        at = 0
        while at < len(data):
            if self._expects == "data":
                piece = data[at : at + self._chunk_left]
                self._add(piece)
                self._chunk_left -= len(piece)
                at += len(piece)
                if not self._chunk_left:
                    self._expects = "end"
                continue
            stop = data.find(b"\n", at)
            self._line += data[at : len(data) if stop < 0 else stop + 1]
            if len(self._line) > _MAX_CHUNK_LINE:
                raise BadMessage(400, "a chunk of the body is not valid")
            if stop < 0:
                return b""
            at = stop + 1
            if not self._line.endswith(b"\r\n"):
                raise BadMessage(400, "a chunk of the body is not valid")
            line = bytes(self._line[:-2])
            self._line.clear()
            if self._next(line):
                self.done = True
                return data[at:]
        return b""

    def _next(self, line: bytes) -> bool:
        """Parses a line between chunks; returns whether it is the last line of the body."""
        if self._expects == "end":
            if line:
                raise BadMessage(400, "a chunk of the body is not valid")
            self._expects = "size"
            return False
        if self._expects == "trailer":
            self._trailers += 1
            if self._trailers > _MAX_HEADERS:
                raise BadMessage(431, f"there are more than {_MAX_HEADERS} headers after the body")
            if line:
                _headers([line])
            return not line
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS:
            raise BadMessage(413, f"the body has more than {_MAX_CHUNKS} chunks")
        found = _CHUNK_SIZE.match(line)
        if found is None:
            raise BadMessage(400, "a chunk of the body is not valid")
        self._chunk_left = int(found[1], 16)
        if self.size + self._chunk_left > self._max:
            raise self._too_large()
        self._expects = "data" if self._chunk_left else "trailer"
        return False


def forwarded(head: Head, body: bytes) -> bytes:
    """The bytes of the request for the server behind the router, without hop-by-hop headers."""
    lines = [b"%s %s HTTP/1.1" % (head.method, head.target)]
    if head.get(b"host") is None:
        lines.append(b"host: localhost")
    return _joined(lines, head, body)


def answered(head: Head, body: bytes, *, keep: bool, bodiless: bool = False) -> bytes:
    """The bytes of the response for the client. For HEAD (`bodiless`), they have the server's length and no body."""
    lines = [b"HTTP/1.1 %d %s" % (head.status, _REASONS.get(head.status, b""))]
    if not keep:
        lines.append(b"connection: close")
    if bodiless:
        length = head.get(b"content-length")
        lines += [] if length is None else [b"content-length: " + length]
        return b"\r\n".join([*lines, *_end_to_end(head), b"", b""])
    return _joined(lines, head, body)


def response(status: int, body: bytes, kind: bytes = b"application/json", headers: Iterable[tuple[bytes, bytes]] = ()
             ) -> tuple[Head, bytes]:  # fmt: skip
    """A response that the router itself creates."""
    return Head(status=status, headers=[(b"content-type", kind), *headers]), body


def _end_to_end(head: Head) -> Iterable[bytes]:
    """The headers of the message without hop-by-hop headers."""
    hop = _HOP | _options(head) if head.get(b"connection") else _HOP
    return (b"%s: %s" % header for header in head.headers if header[0] not in hop)


def _joined(lines: list[bytes], head: Head, body: bytes) -> bytes:
    lines += _end_to_end(head)
    lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
