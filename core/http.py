"""HTTP client: one request, bounded in time and in the size of the response; redirects are not followed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies

import urllib3

_CHUNK = 64 << 10
# Characters of a message that are shown.
SHOWN = 300


class RequestFailed(Exception):
    """No response: the network failed, or the response did not end in time."""


class UntrustedServer(RequestFailed):
    """The server's TLS certificate cannot be verified."""


class ResponseTooLarge(Exception):
    """The response is larger than the maximum."""


@dataclass(frozen=True)
class HttpResponse:
    """A complete response.

    Attributes:
        status: HTTP status.
        headers: by case-insensitive name.
        content: the body, as it was sent.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


def pool(connections: int = 1, *, proxies: bool = False) -> urllib3.PoolManager:
    """Creates a pool of connections that stay open between requests.

    Args:
        connections: maximum number of open connections.
        proxies: whether to use HTTPS_PROXY and HTTP_PROXY of the environment.
    """
    found = getproxies() if proxies else {}
    address = found.get("https") or found.get("http")
    manager = (
        urllib3.ProxyManager(address, maxsize=connections, block=True, retries=False)
        if address
        else urllib3.PoolManager(maxsize=connections, block=True, retries=False)
    )
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager


def check_url(url: str) -> None:
    """Checks that a request can be sent to a URL.

    Raises:
        ValueError: it is not http:// or https:// with a host and a valid port. The message may hold the URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise ValueError(url)
    # Both raise ValueError: for a port that is none, and for an empty or overlong label of the host's name.
    _ = parts.port, parts.hostname.encode("idna")


def send(
    connections: urllib3.PoolManager,
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    max_bytes: int,
) -> HttpResponse:
    """Sends a request and reads the response, whatever its status.

    Args:
        connections: of `pool`.
        method: GET or POST.
        url: http:// or https://.
        body: bytes to send.
        headers: in addition to the client's own.
        timeout_s: timeout of the whole request, in seconds. A socket's timeout is per read, and would never expire
            where a server sends a byte at a time.
        max_bytes: maximum size of the response's body.

    Raises:
        UntrustedServer: the certificate cannot be verified.
        RequestFailed: no response in time.
        ResponseTooLarge: the response exceeds `max_bytes`.
    """
    end = time.monotonic() + timeout_s
    try:
        response = connections.request(
            method,
            url,
            body=body,
            headers={"User-Agent": "headrace", "Accept-Encoding": "identity", **(headers or {})},
            timeout=urllib3.Timeout(total=timeout_s),
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
        )
        try:
            content = _content(response, end, timeout_s, max_bytes)
        finally:
            # A connection that was not read to its end cannot be used again.
            if not response.closed:
                response.close()
            response.release_conn()
    except urllib3.exceptions.SSLError as error:
        failed = UntrustedServer if _certificate_is_wrong(error) else RequestFailed
        raise failed(_message(error)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise RequestFailed(_message(error)) from error
    return HttpResponse(response.status, response.headers, content)


class _Connection(urllib3.connection.HTTPConnection):
    """Connection whose response headers arrive in time, or not at all."""

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        with _shut_down_at(self):
            return super().getresponse()


class _TlsConnection(urllib3.connection.HTTPSConnection):
    """As `_Connection`, over TLS, and through a proxy's tunnel."""

    def connect(self) -> None:
        with _shut_down_at(self):
            super().connect()

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        with _shut_down_at(self):
            return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


@contextlib.contextmanager
def _shut_down_at(connection: urllib3.connection.HTTPConnection) -> Iterator[None]:
    """Bounds the block by the connection's timeout: http.client reads headers line by line, each with a new timeout."""
    expired = threading.Event()

    def shut_down() -> None:
        expired.set()
        if isinstance(connection.sock, socket.socket):
            with contextlib.suppress(OSError):
                # That of ssl.SSLSocket would continue without TLS.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    if not isinstance(connection.timeout, int | float):
        yield
        return
    timer = threading.Timer(connection.timeout, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise TimeoutError("the response did not begin in time") from error
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        # http.client takes headers that are cut off as complete.
        raise TimeoutError("the response did not begin in time")


def _content(response: urllib3.BaseHTTPResponse, end: float, timeout_s: float, max_bytes: int) -> bytes:
    declared = response.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise ResponseTooLarge(f"{int(declared):,} bytes")
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise ResponseTooLarge(f"more than {max_bytes:,} bytes")
        if time.monotonic() > end:
            raise urllib3.exceptions.TimeoutError(f"the response did not end within {timeout_s:g} s")
    return b"".join(chunks)


def _message(error: Exception) -> str:
    """Message of a network error, without the object representations that urllib3 puts before it."""
    text = str(error)
    return f"{type(error).__name__}: {text.rpartition('>: ')[2] or text}"[:SHOWN]


def _certificate_is_wrong(error: Exception) -> bool:
    return any(isinstance(inner, ssl.SSLCertVerificationError) for inner in (error, error.__cause__, *error.args))
