"""ASGI application of the server: routes, the reading of bodies, and error responses, around one answerer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from headrace.components.serve.access_log import AccessLog
from headrace.components.serve.batcher import ClientGone, QueueFull, RequestBatcher
from headrace.components.serve.limits import Limits
from headrace.components.serve.metrics import Metrics
from headrace.components.serve.modes.answerer import Answerer, KeysNotFound
from headrace.components.serve.protocols.call import CallResponse
from headrace.components.serve.protocols.compression import BodyTooLarge, gunzip
from headrace.components.serve.routes import Handler, RequestRefused, Router, Routes, loading
from headrace.core.errors import HeadraceError, UserError
from headrace.core.json_body import encode
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.rows import NoPrediction, NotFinitePrediction

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("headrace.serve")
_CLOSE = (b"connection", b"close")
# The scope's extension by which the connection tells that its client is still there.
CONNECTED = "headrace.connected"
# Larger compressed bodies are decompressed in a thread, so that the loop goes on.
_SMALL = 16 << 10
# The rows of larger bodies are read and written in a thread.
_LARGE = 128 << 10
_TOO_LONG = "the prediction took longer than {:g} s"


class _Disconnected(Exception):
    """The client closed the connection."""


class ServerApp:
    """The ASGI application. Before it has an answerer it responds with status 503.

    Args:
        name: the model's name in URLs.
        version: of the model that is being loaded.
        limits: of requests.
        routes: of Vertex AI's contract.
        access_log: writes a line per request.
        traffic: receives version, status and seconds of each response to a predict request.

    Attributes:
        metrics: of this application.
        draining: whether each response tells its client to connect elsewhere next time.
    """

    def __init__(
        self,
        name: str,
        version: str,
        *,
        limits: Limits | None = None,
        routes: Routes | None = None,
        access_log: AccessLog | None = None,
        traffic: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self.name = name
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.draining = False
        self._version = version
        self._answerer: Answerer | None = None
        self._access_log = access_log
        self._traffic = traffic
        self.batcher = RequestBatcher(self.limits, self._in_use, self.metrics.batch)
        self._router = Router(self, routes or Routes())
        self.metrics.gauges |= {
            ("waiting_requests", "Requests that wait for a call of the model."): lambda: self.batcher.waiting,
            ("running_calls", "Calls of the model at this moment."): lambda: self.batcher.running,
        }

    def use(self, answerer: Answerer) -> None:
        """Uses `answerer` from the next batch on; running batches keep the one that they started with."""
        self._answerer = answerer

    @property
    def answerer(self) -> Answerer | None:
        """The answerer in use, or None before the model is loaded."""
        return self._answerer

    @property
    def version(self) -> str:
        """The version in use, or the one that is being loaded."""
        return self._version if self._answerer is None else self._answerer.description.version

    def _in_use(self) -> Answerer:
        assert self._answerer is not None
        return self._answerer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; protocols other than HTTP are not supported."""
        if scope["type"] != "http":
            raise ValueError(f"this application supports HTTP, not {scope['type']}")
        begin = time.perf_counter()
        route, rows, seconds, predicts = "other", 0, -1.0, False
        try:
            handler = self._router.find(scope)
            route, predicts = handler.route, handler.decode is not None
            if handler.get is not None:
                response = handler.get()
            else:
                body = await self._read(scope, receive)
                begin = time.perf_counter()
                rows, response = await self._predict(handler, scope, body)
                seconds = time.perf_counter() - begin
        except (_Disconnected, ClientGone):
            return
        except Exception as error:
            response = self._failure(error, scope)
        self.metrics.answered(route, response.status, seconds)
        if predicts and self._traffic is not None:
            self._traffic(_version_in(response) or self.version, response.status, time.perf_counter() - begin)
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", str(len(response.body)).encode()),
            *response.headers,
        ]
        if not _version_in(response):
            headers.append((b"x-model-version", self.version.encode()))
        if self.draining:
            headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})
        if self._access_log is not None:
            self._access_log.add(scope, response, rows, time.perf_counter() - begin)

    async def _predict(self, handler: Handler, scope: Scope, body: bytes) -> tuple[int, CallResponse]:
        answerer = self._answerer
        if answerer is None:
            raise loading()
        assert handler.decode is not None
        large = len(body) > _LARGE
        given = body, scope["headers"], answerer.description
        call = await asyncio.to_thread(handler.decode, *given) if large else handler.decode(*given)
        connected = scope.get("extensions", {}).get(CONNECTED)
        try:
            answer = await self.batcher.submit(call.request, len(body), connected)
        except QueueFull as error:
            raise RequestRefused(503, "too many requests are waiting", retry_after="1") from error
        except TimeoutError as error:
            raise RequestRefused(504, _TOO_LONG.format(self.limits.time_limit_s)) from error
        response = await asyncio.to_thread(call.respond, answer) if large else call.respond(answer)
        version = (b"x-model-version", answer.version.encode())
        return call.request.rows, CallResponse(
            response.body, response.status, (*response.headers, version), response.content_type
        )

    def _failure(self, error: Exception, scope: Scope) -> CallResponse:
        if isinstance(error, RequestRefused):
            headers = [(n.replace("_", "-").encode(), v.encode()) for n, v in error.headers.items()]
            return CallResponse(_error(error.message), error.status, headers)
        if isinstance(error, KeysNotFound):
            return CallResponse(encode({"error": error.paragraph, "not_there": error.rows}), 404)
        if isinstance(error, NoPrediction):
            # The request is valid, and so is the server: a retry would fail on these rows again.
            _log.warning("%s", error.paragraph)
            return CallResponse(refusal(error), 422)
        if isinstance(error, RowsRefused):
            return CallResponse(encode(error.to_response()), 422)
        if isinstance(error, UserError):
            return CallResponse(_error(error.paragraph), 400)
        if isinstance(error, HeadraceError):
            _log.error("%s", error.paragraph)
            return CallResponse(_error(error.paragraph), 500)
        # The client gets no details; the operator finds them in the log.
        _log.error("unexpected internal error: %s %s", scope["method"], scope["path"], exc_info=error)
        return CallResponse(_error("unexpected internal error; the server's log has the cause"), 500)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        most = self.limits.max_body_bytes
        compressed = False
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > most:
                raise _too_big(most)
            if name == b"content-encoding" and value.lower() != b"identity":
                if value.lower() not in (b"gzip", b"x-gzip"):
                    raise RequestRefused(
                        415, "the body's encoding is not supported. Expected gzip, or no Content-Encoding."
                    )
                compressed = True
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            chunks, size = [body], len(body)
            while message.get("more_body", False) and size <= most:
                message = await receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
            body = b"".join(chunks)
        if message["type"] == "http.disconnect":
            raise _Disconnected
        if len(body) > most:
            raise _too_big(most)
        if not compressed:
            return body
        try:
            return gunzip(body, most) if len(body) < _SMALL else await asyncio.to_thread(gunzip, body, most)
        except BodyTooLarge as error:
            raise _too_big(most) from error


def _too_big(most: int) -> RequestRefused:
    return RequestRefused(413, f"the body is too large. Expected at most {most} bytes.")


def _version_in(response: CallResponse) -> str:
    """The version in a response's headers; "" for none."""
    return next((value.decode() for name, value in response.headers if name == b"x-model-version"), "")


def refusal(error: NoPrediction) -> bytes:
    """The response to a request with rows without a prediction.

    Returns:
        `{"error": "..."}` as JSON, with `not_finite`, the rows' indices by output, if known.
    """
    rows = {"not_finite": error.rows} if isinstance(error, NotFinitePrediction) else {}
    return encode({"error": error.paragraph, **rows})


def _error(message: str) -> bytes:
    return encode({"error": message})
