"""Limits of one server: sizes, counts and times beyond which a request or a connection is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from headrace.core.checks import check_count, check_positive
from headrace.core.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Limits of one server; requests beyond them are refused at once.

    Args:
        max_body_bytes: maximum size of a request's body, also after decompression.
        max_head_bytes: maximum size of a request line with its headers.
        max_pieces: maximum chunks or network reads of a body, so that a body of one-byte chunks is not parsed for long.
        max_instances: maximum rows per request.
        max_batch_rows: maximum rows of several requests in one call of the model.
        time_limit_s: maximum time from a whole request to its response, in seconds.
        arrival_time_s: maximum time from a request's first byte, or from the connection, to its last byte; half of it
            for the oldest of more than 250 that arrive. Also the maximum time for which a client reads nothing of its
            response.
        keep_alive_s: maximum idle time of a connection between two requests.
        max_connections: maximum open connections; beyond it, one without a whole request is closed for a new one.
        max_running: maximum calls of the model at a time; each uses TensorFlow's own threads.
        max_waiting: maximum requests that wait for a call.
        max_waiting_bytes: maximum size of the bodies of waiting requests together.

    Raises:
        UsageError: a limit is not positive, or is not a whole number where it must be.
    """

    max_body_bytes: int = 8 << 20
    max_head_bytes: int = 64 << 10
    max_pieces: int = 20_000
    max_instances: int = 10_000
    max_batch_rows: int = 4096
    time_limit_s: float = 30.0
    # With the interval of the timer, a slow client is cut within 10 s.
    arrival_time_s: float = 9.0
    keep_alive_s: float = 75.0
    max_connections: int = 10_000
    max_running: int = 4
    max_waiting: int = 1024
    max_waiting_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "float":
                check_positive(value, field.name, where="Limits")
            else:
                check_count(value, field.name, minimum=0 if field.name == "max_waiting" else 1, where="Limits")


def limits_from(texts: Sequence[str], where: str) -> Limits:
    """The limits that texts name; the others have their defaults.

    Args:
        texts: each NAME=NUMBER, NAME a field of Limits.
        where: the option or the variable, for messages.

    Raises:
        UsageError: a name does not exist, or a number is not valid.
    """
    kinds = {field.name: float if field.type == "float" else int for field in fields(Limits)}
    given: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            given[name] = kinds[name](value)
        except (KeyError, ValueError) as error:
            raise UsageError(
                "the limit of the server is not valid",
                where=where,
                expected=f"NAME=NUMBER, NAME one of {', '.join(kinds)}",
                received=repr(text),
            ) from error
    return Limits(**given)  # type: ignore[arg-type]
