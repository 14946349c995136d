"""ASGI application that triggers dynamic training: POST /runs, GET /runs, and a page at /."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from headrace.components.serve.limits import Limits
from headrace.components.serve.metrics import Metrics
from headrace.components.serve.protocols.call import CallResponse
from headrace.components.serve.routes import RequestRefused
from headrace.core.errors import HeadraceError, PlatformError, UsageError, UserError
from headrace.core.json_body import encode
from headrace.core.ledger.pump import PlatformRuns
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers.service import page
from headrace.pipelines.triggers.service.login import Forbidden, Login, Unauthenticated
from headrace.pipelines.triggers.service.origin import is_foreign
from headrace.pipelines.triggers.service.runs import overview, run_of
from headrace.pipelines.triggers.trigger import Event, trigger

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")

_log = logging.getLogger("headrace.triggers")
_THREADS = 16
# Maximum requests that wait for a thread; more are refused.
_MAX_WAITING = 256
# The time limit is long because a request measures its data, which is slow on a disk; in a bucket, checksums are known.
LIMITS = Limits(max_body_bytes=64 << 10, max_pieces=1000, time_limit_s=120.0, max_connections=1000)
_PLACE = re.compile(r"(?:/|gs://|bigquery://)[^/]")
_FORM = "application/x-www-form-urlencoded"
# A JSON string, including escapes.
_JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FIELDS = ("data", "span", "event")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class TriggerServiceConfig:
    """Options of the service.

    Args:
        settings: returns the current settings of the dynamic training.
        login: verifies accounts; None if only this machine can reach the service.
        data_below: URIs or absolute folders below which data may be announced; if empty, requests cannot announce data.
        runs: runs of the platform; None for those of the settings.

    Raises:
        UsageError: an entry of `data_below` is not valid.
    """

    settings: Callable[[], DynamicSettings]
    login: Login | None
    data_below: Sequence[str] = ()
    runs: PlatformRuns | None = None

    def __post_init__(self) -> None:
        for place in self.data_below:
            if not _PLACE.match(place) or ".." in place.split("/"):
                raise UsageError(
                    "the place of data is not valid",
                    where="--data-below",
                    expected="an absolute folder, gs://BUCKET/FOLDER or bigquery://PROJECT.DATASET",
                    received=repr(place),
                )

    def check_data(self, data: str) -> None:
        """Checks that data may be announced, because the service reads it with rights that its callers may not have.

        Raises:
            RequestRefused: the data is not below an entry of `data_below`.
        """
        below = any(
            data.startswith(f"{place.rstrip('/')}{'.' if place.startswith('bigquery://') else '/'}")
            for place in self.data_below
        )
        if not below or ".." in data.split("/"):
            expected = ", ".join(self.data_below) or "a request without data: the service has no --data-below"
            raise RequestRefused(403, f"data from there is not allowed. Expected below {expected}.")


class TriggerApp:
    """The application. GET /health needs no login.

    Args:
        config: options of the service.
        limits: limits of requests.

    Attributes:
        limits, metrics, draining: as of `HttpServer`.
    """

    def __init__(self, config: TriggerServiceConfig, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.draining = False
        self._config = config
        self._pool = ThreadPoolExecutor(_THREADS, "trigger")
        self._waiting = 0

    def close(self) -> None:
        """Ends the threads after their current work."""
        self._pool.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; protocols other than HTTP are not supported."""
        if scope["type"] != "http":
            raise ValueError(f"this application supports HTTP, not {scope['type']}")
        try:
            response = await self._respond(scope, receive)
        except Exception as error:
            response = _failure(error, scope)
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", str(len(response.body)).encode()),
            *_HEADERS,
            *response.headers,
        ]
        if self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def _respond(self, scope: Scope, receive: Receive) -> CallResponse:
        path, method = scope["path"], scope["method"]
        methods = {"/": ("GET", "HEAD"), "/health": ("GET", "HEAD"), "/runs": ("GET", "HEAD", "POST")}.get(path)
        if methods is None:
            raise RequestRefused(404, "the path does not exist. Expected /, /runs or /health.")
        if method not in methods:
            raise RequestRefused(
                405, f"the method is not allowed here. Expected {', '.join(methods)}.", allow=methods[0]
            )
        if path == "/health":
            return CallResponse(encode({"status": "ok"}))
        headers = scope["headers"]
        login = self._config.login
        if login is None:
            _check_local(headers)
        account = "" if login is None else await self._in_thread(lambda: login.account(headers))
        if method == "POST":
            if is_foreign(headers):
                raise RequestRefused(403, "the request was started by a page of another site")
            kind, body = _content_type(headers), await self._body(scope, receive)
            event = _event(kind, body)
            if event.data:
                self._config.check_data(event.data)
            return await self._in_thread(lambda: self._trigger(event, account, form=kind == _FORM))
        found = await self._in_thread(lambda: overview(self._config.settings()))
        if path == "/runs":
            return CallResponse(encode(found))
        html = page.render(found, account, self._config.data_below)
        return CallResponse(html, 200, [(b"content-security-policy", page.policy())], b"text/html; charset=utf-8")

    def _trigger(self, event: Event, account: str, *, form: bool) -> CallResponse:
        found = trigger(self._config.settings(), event, datetime.now(UTC), runs=self._config.runs)
        _log.info("%s requested %s: %s", account or "this machine", event.data or "a run", found.pumped.why)
        if form:
            return CallResponse(b"", 303, [(b"location", b"/")])
        answer = {"run": run_of(found.pumped.run), "did": found.pumped.did, "why": found.pumped.why}
        return CallResponse(encode({**answer, "arrival": asdict(found.arrival)}), 202)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise RequestRefused(503, "too many requests are waiting", retry_after="1")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        try:
            # The work is finished even after a timeout. A repeated request is still one run.
            return await asyncio.wait_for(asyncio.shield(future), self.limits.time_limit_s)
        except TimeoutError as error:
            raise RequestRefused(
                504, "the platform did not answer in time; request it again", retry_after="10"
            ) from error

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            # Reads the error of a request that no longer waits, so that asyncio does not log it.
            future.exception()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestRefused(400, "the client closed the connection")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limits.max_body_bytes:
                raise RequestRefused(
                    413, f"the body is too large. Expected at most {self.limits.max_body_bytes} bytes."
                )
        return body


def _content_type(headers: Sequence[tuple[bytes, bytes]]) -> str:
    found = next((value for name, value in headers if name == b"content-type"), b"")
    return found.decode("latin-1").partition(";")[0].strip().lower()


def _check_local(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuses another host name, which a page of another site may resolve to this machine (DNS rebinding)."""
    host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1")
    if host.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
        raise RequestRefused(403, "without a login, only 127.0.0.1 and localhost are answered")


def _event(kind: str, body: bytes) -> Event:
    """The event of a request: a JSON object or a form with `data` and `span`, and optionally `event`; or no body."""
    try:
        if kind == _FORM:
            given: Any = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)) if body else {}
        elif kind == "application/json" or not body:
            if re.search(rb"\[|\{.*\{", _JSON_TEXT.sub(b"", body), re.DOTALL):
                raise ValueError(f"not an object with {', '.join(_FIELDS)}")
            given = json.loads(body) if body else {}
        else:
            raise RequestRefused(415, f"the content type is not supported. Expected application/json or {_FORM}.")
        if not isinstance(given, dict) or not given.keys() <= set(_FIELDS):
            raise ValueError(f"not an object with {', '.join(_FIELDS)}")
        fields = {name: given.get(name, "") for name in _FIELDS}
        if not all(isinstance(value, str) and value.isprintable() for value in fields.values()):
            raise ValueError("a value is not text")
        if bool(fields["data"]) != bool(fields["span"]):
            raise ValueError("data and span belong together")
    except ValueError as error:
        raise RequestRefused(400, f"the body is not valid: {str(error)[:200]}") from error
    return Event("request", id=fields["event"], data=fields["data"], span=fields["span"])


def _failure(error: Exception, scope: Scope) -> CallResponse:
    if isinstance(error, RequestRefused):
        headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in error.headers.items()]
        return _error(error.message, error.status, headers)
    if isinstance(error, Unauthenticated):
        return _error(str(error), 401, [(b"www-authenticate", b"Bearer")])
    if isinstance(error, Forbidden):
        return _error(str(error), 403)
    if isinstance(error, UserError):
        return _error(error.paragraph, 400)
    if isinstance(error, PlatformError):
        _log.error("%s", error.paragraph)
        return _error(error.paragraph, 503, [(b"retry-after", b"10")])
    if isinstance(error, HeadraceError):
        return _error(error.paragraph, 500)
    _log.error("unexpected internal error: %s %s", scope["method"], scope["path"], exc_info=error)
    return _error("unexpected internal error; the service's log has the cause", 500)


def _error(message: str, status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> CallResponse:
    return CallResponse(encode({"error": message}), status, headers)
