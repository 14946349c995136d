"""HTTP client: one request, bounded in time and in the size of the response; redirects are not followed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
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
class Response:
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
    if address:
        return urllib3.ProxyManager(address, maxsize=connections, block=True, retries=False)
    return urllib3.PoolManager(maxsize=connections, block=True, retries=False)


def send(
    connections: urllib3.PoolManager,
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    max_bytes: int,
) -> Response:
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
    return Response(response.status, response.headers, content)


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
