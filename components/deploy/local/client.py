"""Asks a server on this machine, within bounds of time and size, and compares its answers with the model's own."""

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
    """Sends a GET, or a POST with a JSON body, and reads a JSON answer; proxies are not asked.

    Returns:
        The status, and the value in the answer.

    Raises:
        PlatformError: no answer in time, one that is too big, or one that is not JSON.
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
                "the answer is too big", where=where, expected=f"at most {max_bytes} bytes", received=str(error)
            ) from error
        except http.RequestFailed as error:
            raise PlatformError("the server does not answer", where=where, received=str(error)) from error
    try:
        return response.status, json.loads(response.content)
    except ValueError as error:
        raise PlatformError("the answer is not JSON", where=where, received=repr(response.content[:80])) from error


def healthy(url: str, version: str) -> bool:
    """Whether the server is there and serves `version`."""
    try:
        status, said = request(url, "/health", timeout_s=5.0)
    except PlatformError:
        return False
    return status == 200 and isinstance(said, dict) and said.get("model_version") == version


def check_golden(url: str, name: str, golden: Mapping[str, Any]) -> int:
    """Sends the model's golden rows and compares the server's answers with the model's own.

    Returns:
        How many rows agreed: all of them.

    Raises:
        PlatformError: an answer that is missing, or differs.
    """
    instances, expected = golden["instances"], golden["predictions"]
    path = f"/v1/models/{name}:predict"
    status, said = request(url, path, body={"instances": instances}, timeout_s=60.0)
    if status != 200 or not isinstance(said, dict) or not isinstance(said.get("predictions"), list):
        raise PlatformError("the server refused the model's own rows", where=url + path, received=_short(said))
    compare(said["predictions"], expected, where=url + path)
    return len(expected)


def compare(received: Sequence[Any], expected: Sequence[Mapping[str, Any]], *, where: str) -> None:
    """Compares predictions by row and output: numbers to 1e-5 of their size, texts exactly.

    Outputs that `expected` does not name are not looked at.

    Raises:
        PlatformError: with the first row and output that differs.
    """
    if len(received) != len(expected):
        raise PlatformError(
            "the server did not answer every row", where=where, expected=str(len(expected)), received=str(len(received))
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
                    "the server's answer is not the model's own",
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
