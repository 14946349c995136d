"""Routes of the server: which handler answers a path, for Vertex AI, TensorFlow Serving, and KServe's V1 and V2."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.components.serve.limits import Limits
from headrace.components.serve.metrics import CONTENT_TYPE, Metrics
from headrace.components.serve.modes.answerer import Answerer, Description
from headrace.components.serve.protocols import openapi, rows, v2
from headrace.components.serve.protocols.call import CallResponse, Headers, PredictCall
from headrace.core.json_body import encode

_GET = ("GET", "HEAD")
_POST = ("POST",)
# Versions of TensorFlow Serving are numbers, headrace's are digests.
_MODEL = re.compile(
    r"/(?P<api>v1|v2)/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?P<verb>/metadata|/ready|/infer|:[a-z]+)?\Z"
)
METRICS = "/metrics"
OPENAPI = "/openapi.json"


@dataclass(frozen=True)
class Routes:
    """Routes of Vertex AI's custom-container contract."""

    health: str = "/health"
    predict: str = "/predict"


class RequestRefused(Exception):
    """A request whose response has a status other than 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


@dataclass(frozen=True)
class Handler:
    """What answers a path.

    Attributes:
        route: its name in metrics.
        methods: allowed methods of HTTP.
        get: returns the response to a request without a body.
        decode: reads a predict request's body and headers.
    """

    route: str
    methods: Sequence[str]
    get: Callable[[], CallResponse] | None = None
    decode: Callable[[bytes, Headers, Description], PredictCall] | None = None


class ServerState(Protocol):
    """What the routes answer about; `app.ServerApp` implements it."""

    name: str
    limits: Limits
    metrics: Metrics
    draining: bool

    @property
    def answerer(self) -> Answerer | None:
        """The answerer in use, or None before the model is loaded."""

    @property
    def version(self) -> str:
        """The version in use, or the one that is being loaded."""


class Router:
    """Finds the handler of a request.

    Args:
        app: whose model, limits and metrics the handlers use.
        routes: of Vertex AI's contract.
    """

    def __init__(self, app: ServerState, routes: Routes) -> None:
        self._app = app
        self._routes = routes
        most = app.limits.max_instances
        self._by_row = Handler("vertex", _POST, decode=self._rows(rows.ROWS, most))
        self._by_row_or_column = Handler("v1", _POST, decode=self._rows(rows.ROWS_OR_COLUMNS, most))
        self._infer = Handler("v2", _POST, decode=lambda b, h, d: v2.decode(b, h, d, max_instances=most))
        self._fixed: Mapping[str, Handler] = {
            routes.health: Handler("health", _GET, self._health),
            routes.predict: self._by_row,
            METRICS: Handler("metrics", _GET, self._metrics),
            OPENAPI: Handler("openapi", _GET, self._openapi),
            "/": Handler("health", _GET, lambda: CallResponse(encode({"status": "alive"}))),
            "/v1/models": Handler("metadata", _GET, lambda: CallResponse(encode({"models": [app.name]}))),
            "/v2": Handler("metadata", _GET, lambda: CallResponse(v2.server_metadata())),
            "/v2/health/live": Handler("health", _GET, lambda: CallResponse(encode({"live": True}))),
            "/v2/health/ready": Handler("health", _GET, lambda: self._ready({"ready": True})),
        }

    def find(self, scope: Mapping[str, Any]) -> Handler:
        """The handler of a request.

        Raises:
            RequestRefused: the path, the model, the version or the method does not exist.
        """
        handler = self._fixed.get(scope["path"]) or self._of_model(scope["path"])
        if scope["method"] not in handler.methods:
            allowed = ", ".join(handler.methods)
            raise RequestRefused(405, f"the method is not allowed here. Expected {allowed}.", allow=allowed)
        return handler

    @staticmethod
    def _rows(forms: tuple[str, ...], most: int) -> Callable[[bytes, Headers, Description], PredictCall]:
        return lambda body, _, description: rows.decode(body, description, forms=forms, max_instances=most)

    def _of_model(self, path: str) -> Handler:
        app, match = self._app, _MODEL.match(path)
        if match is None:
            known = (self._routes.health, self._routes.predict, METRICS, OPENAPI)
            models = f"/v1/models/{app.name}[:predict], /v2/models/{app.name}[/infer]"
            raise RequestRefused(404, f"the path does not exist. Expected one of {', '.join(known)}, {models}.")
        if match["name"] != app.name:
            raise RequestRefused(404, f'the model does not exist. Expected "{app.name}".')
        if match["version"] is not None and match["version"] != app.version:
            raise RequestRefused(404, f'the version of {app.name} does not exist. Expected "{app.version}".')
        handler = self._verb(match["api"], match["verb"])
        if handler is None:
            expected = ":predict" if match["api"] == "v1" else "/infer"
            raise RequestRefused(404, f"the method does not exist. Expected {expected}.")
        return handler

    def _verb(self, api: str, verb: str | None) -> Handler | None:
        if (api, verb) == ("v1", ":predict"):
            return self._by_row_or_column
        if (api, verb) == ("v2", "/infer"):
            return self._infer
        get = {
            ("v1", None): self._status,
            ("v1", "/metadata"): lambda: CallResponse(rows.metadata(self._answerer().description)),
            ("v2", None): lambda: CallResponse(v2.metadata(self._answerer().description)),
            ("v2", "/ready"): lambda: self._ready({"name": self._app.name, "ready": True}),
        }.get((api, verb))
        return None if get is None else Handler("metadata", _GET, get)

    def _answerer(self) -> Answerer:
        answerer = self._app.answerer
        if answerer is None:
            raise loading()
        return answerer

    def _health(self) -> CallResponse:
        found = self._answerer().description
        return CallResponse(
            encode({"status": "ok", "model": found.name, "model_version": found.version, **found.facts()})
        )

    def _ready(self, content: Mapping[str, Any]) -> CallResponse:
        self._answerer()
        if self._app.draining:
            raise RequestRefused(503, "the server is shutting down")
        return CallResponse(encode(content))

    def _status(self) -> CallResponse:
        return CallResponse(rows.status(self._app.name, self._app.version, available=self._app.answerer is not None))

    def _metrics(self) -> CallResponse:
        answerer = self._app.answerer
        mode = "" if answerer is None else answerer.description.mode
        return CallResponse(self._app.metrics.text(self._app.version, mode).encode(), content_type=CONTENT_TYPE)

    def _openapi(self) -> CallResponse:
        description = self._answerer().description
        return CallResponse(
            encode(openapi.document(description, self._app.limits, self._routes.health, self._routes.predict))
        )


def loading() -> RequestRefused:
    """The refusal of a request before the model is loaded."""
    return RequestRefused(503, "the model is being loaded", retry_after="1")
