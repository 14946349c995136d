"""ASGI application of the server: routes, limits and error responses around a model that may still be loading."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from headrace.components.serve import protocol
from headrace.components.serve.engine import Engine, Limits, Overloaded
from headrace.components.serve.metrics import CONTENT_TYPE, Metrics
from headrace.components.serve.protocol import Predictor
from headrace.core.errors import HeadraceError, UserError
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.rows import NoPrediction

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("headrace.serve")
_JSON = (b"content-type", b"application/json")
_METRICS = "/metrics"
# TensorFlow Serving's REST routes; its versions are numbers, headrace's are digests.
_TFSERVING = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?P<verb>/metadata|:[a-z]+)?\Z")


@dataclass(frozen=True)
class Routes:
    """Routes of Vertex AI's custom-container contract."""

    health: str = "/health"
    predict: str = "/predict"


class _Refused(Exception):
    """A request whose response has a status other than 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class _Disconnected(Exception):
    """The client closed the connection."""


class App:
    """The ASGI application. Before a model is loaded it responds with status 503.

    Args:
        name: the model's name in TensorFlow Serving's routes.
        version: of the model that is being loaded.
        limits: of requests.
        routes: of Vertex AI's contract.
    """

    def __init__(self, name: str, version: str, *, limits: Limits | None = None, routes: Routes | None = None) -> None:
        self.name = name
        self.version = version
        self.limits = limits or Limits()
        self.routes = routes or Routes()
        self.engine = Engine(self.limits)
        self.metrics = Metrics()
        self._model: Predictor | None = None

    def use(self, model: Predictor) -> None:
        """Uses `model` from the next request on; running requests keep the model that they started with."""
        self.version = model.version
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; protocols other than HTTP are not supported."""
        if scope["type"] != "http":
            raise ValueError(f"this application supports HTTP, not {scope['type']}")
        try:
            status, headers, body = await self._respond(scope, receive)
        except _Disconnected:
            return
        version = (b"x-model-version", self.version.encode())
        length = (b"content-length", str(len(body)).encode())
        kind = (b"content-type", CONTENT_TYPE) if scope["path"] == _METRICS and status == 200 else _JSON
        await send({"type": "http.response.start", "status": status, "headers": [kind, length, version, *headers]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        try:
            return 200, [], await self._route(scope, receive)
        except _Refused as refused:
            headers = [(n.replace("_", "-").encode(), v.encode()) for n, v in refused.headers.items()]
            return refused.status, headers, _error(refused.message)
        except NoPrediction as error:
            # The request is valid, and so is the server: a retry would fail on these rows again.
            _log.warning("%s", error.paragraph)
            return 422, [], protocol.refusal(error)
        except RowsRefused as error:
            return 422, [], protocol.encode(error.to_response())
        except UserError as error:
            return 400, [], _error(error.paragraph)
        except HeadraceError as error:
            _log.error("%s", error.paragraph)
            return 500, [], _error(error.paragraph)
        except _Disconnected:
            raise
        except Exception:
            # The client gets no details; the operator finds them in the log.
            _log.exception("unexpected internal error: %s %s", scope["method"], scope["path"])
            return 500, [], _error("unexpected internal error; the server's log has the cause")

    async def _route(self, scope: Scope, receive: Receive) -> bytes:
        path: str = scope["path"]
        if path == self.routes.health:
            _allow(scope, "GET", "HEAD")
            return self._health()
        if path == self.routes.predict:
            _allow(scope, "POST")
            return await self._predict(scope, receive, columnar=False)
        if path == _METRICS:
            _allow(scope, "GET", "HEAD")
            return self.metrics.text().encode()
        match = _TFSERVING.match(path)
        if match is None:
            known = f"{self.routes.health}, {self.routes.predict}, {_METRICS}, /v1/models/{self.name}[:predict]"
            raise _Refused(404, f"the path does not exist. Expected one of {known}.")
        if match["name"] != self.name:
            raise _Refused(404, f'the model does not exist. Expected "{self.name}".')
        if match["version"] not in (None, self.version):
            raise _Refused(404, f'the version of {self.name} does not exist. Expected "{self.version}".')
        if match["verb"] == ":predict":
            _allow(scope, "POST")
            return await self._predict(scope, receive, columnar=True)
        if match["verb"] is None or match["verb"] == "/metadata":
            _allow(scope, "GET", "HEAD")
            if match["verb"] is None:
                return protocol.status(self.version, available=self._model is not None)
            return protocol.metadata(self._loaded())
        raise _Refused(404, "the method does not exist. Expected :predict.")

    def _health(self) -> bytes:
        self._loaded()
        return protocol.encode({"status": "ok", "model": self.name, "model_version": self.version})

    def _loaded(self) -> Predictor:
        if self._model is None:
            raise _Refused(503, "the model is being loaded", retry_after="1")
        return self._model

    async def _predict(self, scope: Scope, receive: Receive, *, columnar: bool) -> bytes:
        model = self._loaded()
        limits = self.limits
        reading = True
        try:
            with self.engine.slot() as slot:
                async with asyncio.timeout(limits.time_limit_s):
                    body = await _read(scope, receive, limits.max_body_bytes)
                    reading = False
                    return await slot.run(
                        lambda: protocol.answer(
                            model,
                            body,
                            columnar=columnar,
                            max_instances=limits.max_instances,
                            tell=self.metrics.add,
                        )
                    )
        except Overloaded as error:
            raise _Refused(503, "too many requests are waiting", retry_after="1") from error
        except TimeoutError as error:
            if reading:
                raise _Refused(408, f"the body did not arrive within {limits.time_limit_s:g} s") from error
            raise _Refused(504, f"the prediction took longer than {limits.time_limit_s:g} s") from error


async def _read(scope: Scope, receive: Receive, most: int) -> bytes:
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise _Refused(415, "a compressed body is not supported. Expected no Content-Encoding.")
    too_big = _Refused(413, f"the body is too large. Expected at most {most} bytes.")
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > most:
        raise too_big
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise too_big
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _allow(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        allowed = ", ".join(methods)
        raise _Refused(405, f"the method is not allowed here. Expected {allowed}.", allow=allowed)


def _error(message: str) -> bytes:
    return protocol.encode({"error": message})
