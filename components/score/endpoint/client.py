"""Asks a prediction server over HTTP: tries again what may yet succeed, keeps the pace, and says what cannot."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from headrace.components.score.endpoint.not_finite import NotFinite, rows_said
from headrace.components.score.endpoint.pacing import TokenBucket, asked_seconds
from headrace.components.score.endpoint.refused_rows import RefusedRows, rows_of
from headrace.components.score.endpoint.tokens import FixedToken, GoogleTokens, Tokens
from headrace.components.score.endpoint.wire import BrokenReply
from headrace.components.score.options import EndpointOptions
from headrace.core import http
from headrace.core.errors import PlatformError, UsageError
from headrace.core.retry import backoff_seconds
from headrace.core.scoring.bisect import RowsFailed

Answer = TypeVar("Answer")

# Of an answer. A larger one is not read: fewer rows are asked about at a time.
LARGEST_REPLY = 64 << 20
# Where an error that is JSON says what happened.
_SAYING = ("error", "message", "detail")
# The request may be right, and the server or the way to it is not; every 5xx is one of these too.
_AGAIN = (408, 425, 429)
_ROWS_ARE_WRONG = (400, 422)


class TooLarge(Exception):
    """The request, or the answer to it, is larger than is taken."""


class Stopped(Exception):
    """Others failed meanwhile, so that this answer is no longer wanted."""


@dataclass(frozen=True)
class Response:
    """An answer with status 200.

    Attributes:
        content: its body.
        version: of the model, as our server's header says it; or "".
    """

    content: bytes
    version: str


@dataclass(frozen=True)
class Timing:
    """What time it is, and how it passes; tests have one of their own.

    Attributes:
        clock: seconds that have passed since any moment.
        wait: waits for so many seconds, or until the event comes, and says whether it came.
        chance: a number from 0 up to 1.
    """

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    chance: Callable[[], float] | None = None


class Client:
    """Asks one server; safe to use from several threads at a time, which share its connections and its pace."""

    def __init__(
        self,
        options: EndpointOptions,
        tokens: Tokens | None = None,
        begun: float = 0.0,
        timing: Timing | None = None,
    ) -> None:
        """Opens no connection yet.

        Args:
            options: how to ask.
            tokens: where the token comes from; by default what the options say.
            begun: seconds since 1970 from which the deadline counts; 0 for now.
            timing: what time it is.

        Raises:
            UsageError: there is no token where one is to be.
        """
        self._options = options
        self._timing = timing or Timing()
        passed = time.time() - begun if begun else 0.0
        self._deadline = self._timing.clock() + (options.deadline_seconds or math.inf) - passed
        self._bucket = TokenBucket(options.requests_per_second, self._timing.clock)
        # Redirections would take the rows, and the token, to where nobody meant them to go.
        self._pool = http.pool(options.concurrency)
        if tokens is None:
            tokens = GoogleTokens(options.url) if options.google else FixedToken(options.token_variable)
        self._tokens = tokens

    def get(self, url: str, read: Callable[[Response], Answer]) -> Answer | None:
        """What `read` makes of the answer; None where the server has none. Raises what `post` does."""
        try:
            return self._ask("GET", url, None, read, threading.Event())
        except (_Absent, RowsFailed, TooLarge):
            return None

    def post(self, url: str, body: bytes, read: Callable[[Response], Answer], stop: threading.Event) -> Answer:
        """What `read` makes of the answer.

        Args:
            url: of the server.
            body: JSON.
            read: raises BrokenReply for an answer that is none, which is asked for again.
            stop: comes when the answer is no longer wanted.

        Raises:
            RowsFailed: the server says that the request is wrong; NotFinite, that predictions are not finite.
            RefusedRows: rows of it break the rules of the server's Model.
            TooLarge: the request or the answer is larger than is taken.
            UsageError: not allowed, not there, or not to be asked in this way.
            PlatformError: the server failed at each try, or the deadline has passed.
            Stopped: the answer is no longer wanted.
        """
        try:
            return self._ask("POST", url, body, read, stop)
        except _Absent as error:
            raise UsageError(
                "there is no such model or address at the endpoint",
                where=url,
                expected="an address that predictions can be posted to",
                received=str(error),
            ) from None

    def _ask(
        self, method: str, url: str, body: bytes | None, read: Callable[[Response], Answer], stop: threading.Event
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
                        "the endpoint does not know who asks",
                        where=url,
                        received=str(error),
                        fix="Give a token that is valid",
                    ) from None
                renewed = True
                continue
            tries += 1
            if tries >= self._options.tries:
                raise PlatformError(
                    "the endpoint did not answer as it should",
                    where=url,
                    expected=f"an answer within {tries} {'try' if tries == 1 else 'tries'}",
                    received=str(failure),
                ) from None
            chance = self._timing.chance
            pause = backoff_seconds(tries) if chance is None else backoff_seconds(tries, chance)
            self._pause(pause, stop, url, str(failure))

    def _pause(self, seconds: float, stop: threading.Event, url: str, last: str | None = None) -> None:
        if self._remaining() <= seconds:
            raise PlatformError(
                "the time for all answers has passed",
                where=url,
                expected=f"them within {self._options.deadline_seconds:g} s",
                received=last,
                fix="Give it more time, or more requests per second",
            )
        if stop.is_set() or (seconds > 0 and self._timing.wait(stop, seconds)):
            raise Stopped

    def _remaining(self) -> float:
        return self._deadline - self._timing.clock()

    def _try(self, method: str, url: str, body: bytes | None, token: str) -> Response:
        """One request, and its answer if it is one."""
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
            raise UsageError("the endpoint does not prove who it is", where=url, received=str(error)) from None
        except http.ResponseTooLarge as error:
            raise TooLarge(f"its response has {error}") from None
        except http.RequestFailed as error:
            raise _Again(str(error)) from None
        self._check(response, url, token)
        return Response(response.content, response.headers.get("x-model-version", ""))

    def _check(self, response: http.Response, url: str, token: str) -> None:
        """Raises what a status other than 200 means."""
        status = response.status
        if status == 200:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise BrokenReply("it is compressed, which nobody asked for")
            return
        said = f"status {status}: {_message(response.content, token)}"
        rows = rows_said(response.content.decode("utf-8", "replace")) if status == 422 else None
        if rows is not None:
            raise NotFinite(f"the endpoint refuses the row: {said}", rows)
        refused = rows_of(response.content) if status == 422 else None
        if refused is not None:
            raise RefusedRows(refused)
        if status in _ROWS_ARE_WRONG:
            raise RowsFailed(f"the endpoint refuses the row: {said}")
        if status == 413:
            raise TooLarge(said)
        if status == 401:
            raise _Unauthorized(said)
        if status == 404:
            raise _Absent(said)
        if status in _AGAIN or status >= 500:
            raise _Again(said, asked_seconds(response.headers.get("retry-after")))
        if 300 <= status < 400:
            to = urlsplit(response.headers.get("location", ""))
            address = f", {to.scheme}://{to.hostname}{to.path}" if to.hostname else ""
            raise UsageError(
                "the endpoint sends elsewhere, where no rows are sent",
                where=url,
                expected="an answer",
                received=f"status {status}{address}",
                fix="Give the address that answers",
            )
        what = "the endpoint does not let this account ask" if status == 403 else "the endpoint refuses the request"
        raise UsageError(what, where=url, expected="an answer", received=said)


class _Again(Exception):
    """A try failed that may succeed later."""

    def __init__(self, message: str, asked: float = 0.0) -> None:
        super().__init__(message)
        self.asked_seconds = asked


class _Unauthorized(Exception):
    """Status 401."""


class _Absent(Exception):
    """Status 404."""


def _message(content: bytes, token: str) -> str:
    """What an error's body says, in one line and without the token: a text, or "error" or "message" of JSON."""
    text = content.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    while isinstance(value, dict | list) and value:
        value = value[0] if isinstance(value, list) else next((value[n] for n in _SAYING if n in value), str(value))
    text = str(value).replace(token, "[token]") if token else str(value)
    return "".join(c if c.isprintable() else " " for c in text[: http.SHOWN]).strip() or "nothing"
