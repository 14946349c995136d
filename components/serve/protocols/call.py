"""Calls: a decoded request with the function that encodes its answer, and responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.components.serve.modes.answerer import Answer, RowsRequest
from headrace.core.errors import DataError

Headers = Sequence[tuple[bytes, bytes]]
JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class CallResponse:
    """A response.

    Attributes:
        body: its content.
        status: of HTTP.
        headers: besides content-type and content-length.
        content_type: of the body.
    """

    body: bytes
    status: int = 200
    headers: Headers = ()
    content_type: bytes = JSON


@dataclass(frozen=True, slots=True)
class PredictCall:
    """A decoded request.

    Attributes:
        request: its rows.
        respond: encodes the answer to them.
    """

    request: RowsRequest
    respond: Callable[[Answer], CallResponse]


def check_rows(rows: int, where: str, most: int) -> None:
    """Raises DataError if the number of rows of a request is not 1 to `most`."""
    if not 1 <= rows <= most:
        raise DataError("the number of rows is out of range", where=where, expected=f"1 to {most}", received=str(rows))
