"""Client of a local server: bounded requests, and the comparison of its responses with the model's golden rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core import http
from headrace.core.errors import PlatformError

_MAX_BYTES = 8 << 20
# float32 holds seven digits; near 0, what counts is the size of the output's other values.
_RELATIVE = 1e-5
_OF_LARGEST = 1e-6


def request(
    url: str, path: str, *, body: Any = None, timeout_s: float = 10.0, max_bytes: int = _MAX_BYTES
) -> tuple[int, Any]:
    """Sends a GET, or a POST with a JSON body, and reads a JSON response; proxies are not used.

    Returns:
        The HTTP status, and the value in the response.

    Raises:
        PlatformError: no response in time, or a response that is too large or not JSON.
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
    """Sends the model's golden rows and compares the predictions with those in the Model.

    Returns:
        The number of rows compared; all agree.

    Raises:
        PlatformError: a prediction is missing or differs.
    """
    instances, expected = golden["instances"], golden["predictions"]
    path = f"/v1/models/{name}:predict"
    status, content = request(url, path, body={"instances": instances}, timeout_s=60.0)
    if status != 200 or not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
        raise PlatformError("the server rejected the model's golden rows", where=url + path, received=_short(content))
    compare(content["predictions"], expected, where=url + path)
    return len(expected)


def compare(received: Sequence[Any], expected: Sequence[Mapping[str, Any]], *, where: str) -> None:
    """Compares predictions by row and output: numbers with a relative tolerance of 1e-5, texts exactly.

    Outputs that `expected` does not name are ignored.

    Raises:
        PlatformError: a row differs; the message has the first row and output.
    """
    if len(received) != len(expected):
        raise PlatformError(
            "the server returned a different number of predictions",
            where=where,
            expected=str(len(expected)),
            received=str(len(received)),
        )
    largest: dict[str, float] = {}
    for row in expected:
        for output, value in row.items():
            largest[output] = max([largest.get(output, 0.0), *(abs(number) for number in _numbers(value))])
    for index, (theirs, ours) in enumerate(zip(received, expected, strict=True)):
        for output, value in ours.items():
            answer = theirs.get(output) if isinstance(theirs, dict) else None
            if not _close(answer, value, _OF_LARGEST * largest[output]):
                raise PlatformError(
                    "the server's prediction differs from the model's golden row",
                    where=f"{where}, predictions[{index}].{output}",
                    expected=_short(value),
                    received=_short(answer),
                )


def _close(received: Any, expected: Any, absolute: float) -> bool:
    if isinstance(expected, list):
        if not isinstance(received, list) or len(received) != len(expected):
            return False
        return all(_close(r, e, absolute) for r, e in zip(received, expected, strict=True))
    if _numbers(expected) and _numbers(received):
        return math.isclose(received, expected, rel_tol=_RELATIVE, abs_tol=absolute)
    return type(received) is type(expected) and bool(received == expected)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for inner in value for number in _numbers(inner)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
