"""Prediction client over HTTP: retries, limits the request rate, and reports requests that cannot succeed."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from headrace.components.score.endpoint.not_finite import NotFiniteRows, rows_said
from headrace.components.score.endpoint.pacing import TokenBucket, asked_seconds
from headrace.components.score.endpoint.refused_rows import RefusedRows, rows_of
from headrace.components.score.endpoint.reply import BrokenReply
from headrace.components.score.endpoint.tokens import FixedToken, GoogleTokens, Tokens
from headrace.components.score.options import EndpointOptions
from headrace.core import http
from headrace.core.errors import PlatformError, UsageError
from headrace.core.retry import backoff_seconds
from headrace.core.scoring.bisect import RowsFailed
from headrace.core.storage.clocks import Moment

Answer = TypeVar("Answer")

# Maximum size of a response. A larger one is not read: the next requests have fewer rows.
LARGEST_REPLY = 64 << 20
# Fields of a JSON error that hold its message.
_SAYING = ("error", "message", "detail")
# Statuses of failures of the server or the network, for which a retry may succeed; every 5xx is retried too.
_AGAIN = (408, 425, 429)
_ROWS_ARE_WRONG = (400, 422)


class SizeLimitExceeded(Exception):
    """The request or its response exceeds a size limit."""


class BatchStopped(Exception):
    """Another request of the batch failed, so this response is no longer needed."""


@dataclass(frozen=True)
class EndpointResponse:
    """A response with status 200.

    Attributes:
        content: its body.
        version: of the model, from the header of headrace's server; or "".
    """

    content: bytes
    version: str


@dataclass(frozen=True)
class Timing:
    """Clock, waiting and randomness; tests inject their own.

    Attributes:
        clock: seconds from any origin.
        wait: waits for a number of seconds or for the event; returns whether the event is set.
        chance: a random number in [0, 1).
    """

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    chance: Callable[[], float] | None = None


class EndpointClient:
    """Client of one server; safe to use from several threads at a time, which share its connections and rate limit."""

    def __init__(
        self,
        options: EndpointOptions,
        tokens: Tokens | None = None,
        begun: Moment | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Opens no connection yet.

        Args:
            options: address, retries, rate and token.
            tokens: the source of the token; by default from the options.
            begun: start of the deadline; None, or a moment on another machine, for now.
            timing: clock and waiting.

        Raises:
            UsageError: the token is missing.
        """
        self._options = options
        self._timing = timing or Timing()
        passed = (begun.passed_s() if begun is not None else None) or 0.0
        self._deadline = self._timing.clock() + (options.deadline_seconds or math.inf) - passed
        self._bucket = TokenBucket(options.requests_per_second, self._timing.clock)
        # Redirections would send the rows and the token to another server.
        self._pool = http.pool(options.concurrency)
        if tokens is None:
            tokens = GoogleTokens(options.url) if options.google else FixedToken(options.token_variable)
        self._tokens = tokens

    def get(self, url: str, read: Callable[[EndpointResponse], Answer]) -> Answer | None:
        """Gets a URL and returns the result of `read`; None for status 404. Raises the errors of `post`."""
        try:
            return self._ask("GET", url, None, read, threading.Event())
        except (_Absent, RowsFailed, SizeLimitExceeded):
            return None

    def post(self, url: str, body: bytes, read: Callable[[EndpointResponse], Answer], stop: threading.Event) -> Answer:
        """Posts a body and returns the result of `read`.

        Args:
            url: of the server.
            body: JSON.
            read: parses the response; if it raises BrokenReply, the request is retried.
            stop: set when the response is no longer needed.

        Raises:
            RowsFailed: the server refuses the request; NotFiniteRows, because predictions are not finite.
            RefusedRows: rows of it break the rules of the server's Model.
            SizeLimitExceeded: the request or the response exceeds a size limit.
            UsageError: access is denied, or the address or the method is wrong.
            PlatformError: the server failed at each attempt, or the deadline has passed.
            BatchStopped: the response is no longer needed.
        """
        try:
            return self._ask("POST", url, body, read, stop)
        except _Absent as error:
            raise UsageError(
                "the endpoint has no model at this address",
                where=url,
                expected="an address that accepts prediction requests",
                received=str(error),
            ) from None

    def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        read: Callable[[EndpointResponse], Answer],
        stop: threading.Event,
    ) -> Answer:
        tries = 0
        renewed = False
        while True:
            self._pause(self._bucket.take(), stop, url)
            token = self._tokens.get()
            try:
                return read(self._try(method, url, body, token))
            except _Again as error:
                failure: Exception = error
                self._bucket.close(error.asked_seconds)
            except BrokenReply as error:
                failure = error
            except _Unauthorized as error:
                if renewed or not self._tokens.renew(token):
                    raise UsageError(
                        "the endpoint refuses the token",
                        where=url,
                        received=str(error),
                        fix="Provide a valid token",
                    ) from None
                renewed = True
                continue
            tries += 1
            if tries >= self._options.tries:
                raise PlatformError(
                    "the endpoint returned no valid response",
                    where=url,
                    expected=f"a response within {tries} {'attempt' if tries == 1 else 'attempts'}",
                    received=str(failure),
                ) from None
            chance = self._timing.chance
            pause = backoff_seconds(tries) if chance is None else backoff_seconds(tries, chance)
            self._pause(pause, stop, url, str(failure))

    def _pause(self, seconds: float, stop: threading.Event, url: str, last: str | None = None) -> None:
        if self._remaining() <= seconds:
            raise PlatformError(
                "the deadline for all responses has passed",
                where=url,
                expected=f"all responses within {self._options.deadline_seconds:g} s",
                received=last,
                fix="Increase the deadline or the requests per second",
            )
        if stop.is_set() or (seconds > 0 and self._timing.wait(stop, seconds)):
            raise BatchStopped

    def _remaining(self) -> float:
        return self._deadline - self._timing.clock()

    def _try(self, method: str, url: str, body: bytes | None, token: str) -> EndpointResponse:
        """Makes one request, and checks its response."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token:
            headers["Authorization"] = f"Bearer {token}"
        seconds = max(0.001, min(self._options.request_seconds, self._remaining()))
        try:
            response = http.send(
                self._pool, method, url, body=body, headers=headers, timeout_s=seconds, max_bytes=LARGEST_REPLY
            )
        except http.UntrustedServer as error:
            raise UsageError("the endpoint's certificate is not valid", where=url, received=str(error)) from None
        except http.ResponseTooLarge as error:
            raise SizeLimitExceeded(f"its response has {error}") from None
        except http.RequestFailed as error:
            raise _Again(str(error)) from None
        self._check(response, url, token)
        return EndpointResponse(response.content, response.headers.get("x-model-version", ""))

    def _check(self, response: http.HttpResponse, url: str, token: str) -> None:
        """Raises the error of a status other than 200."""
        status = response.status
        if status == 200:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise BrokenReply("it is compressed, which was not requested")
            return
        said = f"status {status}: {_message(response.content, token)}"
        rows = rows_said(response.content.decode("utf-8", "replace")) if status == 422 else None
        if rows is not None:
            raise NotFiniteRows(f"the endpoint refuses the row: {said}", rows)
        refused = rows_of(response.content) if status == 422 else None
        if refused is not None:
            raise RefusedRows(refused)
        if status in _ROWS_ARE_WRONG:
            raise RowsFailed(f"the endpoint refuses the row: {said}")
        if status == 413:
            raise SizeLimitExceeded(said)
        if status == 401:
            raise _Unauthorized(said)
        if status == 404:
            raise _Absent(said)
        if status in _AGAIN or status >= 500:
            raise _Again(said, asked_seconds(response.headers.get("retry-after"), response.headers.get("date")))
        if 300 <= status < 400:
            to = urlsplit(response.headers.get("location", ""))
            address = f", {to.scheme}://{to.hostname}{to.path}" if to.hostname else ""
            raise UsageError(
                "the endpoint redirects, and rows are not sent to another address",
                where=url,
                expected="an answer",
                received=f"status {status}{address}",
                fix="Use the address to which it redirects",
            )
        what = "the endpoint denies access to this account" if status == 403 else "the endpoint refuses the request"
        raise UsageError(what, where=url, expected="an answer", received=said)


class _Again(Exception):
    """A failed attempt for which a retry may succeed."""

    def __init__(self, message: str, asked: float = 0.0) -> None:
        super().__init__(message)
        self.asked_seconds = asked


class _Unauthorized(Exception):
    """Status 401."""


class _Absent(Exception):
    """Status 404."""


def _message(content: bytes, token: str) -> str:
    """The message of an error's body, in one line and without the token: text, or "error" or "message" of JSON."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    while isinstance(value, dict | list) and value:
        value = value[0] if isinstance(value, list) else next((value[n] for n in _SAYING if n in value), str(value))
    text = str(value).replace(token, "[token]") if token else str(value)
    return "".join(c if c.isprintable() else " " for c in text[: http.SHOWN]).strip() or "nothing"
