"""Client of a local server: bounded requests, and the comparison of its predictions with the Model's golden rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.core import http
from headrace.core.errors import PlatformError
from headrace.core.saved_model.json.golden import first_difference

_MAX_BYTES = 8 << 20


def request(
    url: str, path: str, *, body: Any = None, timeout_s: float = 10.0, max_bytes: int = _MAX_BYTES
) -> tuple[int, Any]:
    """Sends a GET, or a POST with a JSON body, and reads a JSON response, without a proxy.

    Args:
        url: URL of the server.
        path: path of the request.
        body: JSON value of a POST; None sends a GET.
        timeout_s: timeout of the request, in seconds.
        max_bytes: maximum size of the response, in bytes.

    Returns:
        The HTTP status, and the JSON value of the response.

    Raises:
        PlatformError: the server did not respond in time, or the response is too large or not JSON.
    """
    where = f"{url}{path}"
    headers = {} if body is None else {"Content-Type": "application/json"}
    with http.pool() as connections:
        try:
            response = http.send(
                connections,
                "GET" if body is None else "POST",
                where,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout_s=timeout_s,
                max_bytes=max_bytes,
            )
        except http.ResponseTooLarge as error:
            raise PlatformError(
                "the response is too large", where=where, expected=f"at most {max_bytes} bytes", received=str(error)
            ) from error
        except http.RequestFailed as error:
            raise PlatformError("the server does not respond", where=where, received=str(error)) from error
    try:
        return response.status, json.loads(response.content)
    except ValueError as error:
        raise PlatformError("the response is not JSON", where=where, received=repr(response.content[:80])) from error


def healthy(url: str, version: str) -> bool:
    """Whether the server responds and serves `version`."""
    try:
        status, content = request(url, "/health", timeout_s=5.0)
    except PlatformError:
        return False
    return status == 200 and isinstance(content, dict) and content.get("model_version") == version


def check_golden(url: str, name: str, golden: Mapping[str, Any]) -> int:
    """Sends the Model's golden rows, and compares the predictions with those in the Model.

    Args:
        url: URL of the server.
        name: the model's name in URLs.
        golden: golden rows, from `read_golden`.

    Returns:
        The number of compared rows, which all agree.

    Raises:
        PlatformError: a prediction is missing or differs.
    """
    instances, expected = golden["instances"], golden["predictions"]
    path = f"/v1/models/{name}:predict"
    status, content = request(url, path, body={"instances": instances}, timeout_s=60.0)
    if status != 200 or not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
        raise PlatformError("the server rejected the model's golden rows", where=url + path, received=_short(content))
    difference = first_difference(content["predictions"], expected)
    if difference is not None:
        raise PlatformError(
            "the server's prediction differs from the model's golden row",
            where=f"{url}{path}, {difference.where}",
            expected=difference.expected,
            received=difference.received,
        )
    return len(expected)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
