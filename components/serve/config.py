"""Server options: from the command line, from Python, and from Vertex AI's environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.components.request_log.config import RequestLogConfig, request_log_of
from headrace.components.serve.limits import Limits, limits_from
from headrace.core.checks import check_positive, check_word
from headrace.core.errors import UsageError
from headrace.core.rules.mode import Mode as RulesMode
from headrace.core.rules.mode import check_mode
from headrace.core.serving_mode import ENGINES, MODES, Engine, Mode, Serving


@dataclass(frozen=True)
class ServeConfig:
    """Options of the server.

    Args:
        source: an endpoint folder (its live version), a Model artifact, a bare SavedModel, or a registry, local or on
            gs://; or a registry of Vertex AI.
        alias: of a registry's version to serve.
        mode: "dynamic" answers with the model, "static" from a table of predictions by key, "hybrid" from the table
            first and else with the model; None for what the Model's Problem declares, else dynamic.
        table: folder of published prediction tables, for static and hybrid.
        cache_rows: maximum number of the model's answers that hybrid mode caches; 0 for none.
        follow_s: seconds between looks for a new version behind the alias, or a new table, to switch to it; None for no
            looks.
        name: of the model in URLs; by default the endpoint's or the problem's.
        host: address to listen on.
        port: to listen on; 0 for a free one.
        ready_file: JSON file with the url, written when the server is ready; removed when it exits.
        announce: folder in which the server announces itself from its start.
        inherited_lock: descriptor to close after the announcement.
        supervise: a folder whose lock a program holds, and the module that starts the program again when it died.
        health_route: of Vertex AI's contract.
        predict_route: of Vertex AI's contract.
        limits: of requests.
        rules: "enforce" refuses rows that break the Model's rules, "warn" predicts and counts them.
        signature: of the SavedModel.
        engine: "tensorflow", or "litert" for a Model behind its text features, where its predictions are proven equal.
        constants: a value for each input of shape [], which is one for all rows.
        access_log: whether to write a JSON line per request to the standard output.
        request_log: where a sample of the predicted rows is logged; None for no log.
        deployment: id of the deployment at Vertex AI that the server is of, for the traffic log; "" for none.
        traffic_log: folder or gs:// prefix where the counts of requests by version are written, as evidence for a
            canary at Vertex AI or KServe; None for none.

    Raises:
        UsageError: a port, a route, the mode of rules or the mode is not valid, or options do not go together.
    """

    source: str
    alias: str = "champion"
    mode: Mode | None = None
    table: str | None = None
    cache_rows: int = 0
    follow_s: float | None = None
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    ready_file: str | None = None
    announce: str | None = None
    inherited_lock: int | None = None
    supervise: tuple[str, str] | None = None
    health_route: str = "/health"
    predict_route: str = "/predict"
    limits: Limits = field(default_factory=Limits)
    rules: RulesMode = "enforce"
    signature: str = "serving_default"
    engine: Engine = "tensorflow"
    constants: Mapping[str, str] = field(default_factory=dict)
    access_log: bool = False
    request_log: RequestLogConfig | None = None
    traffic_log: str | None = None
    deployment: str = ""

    def __post_init__(self) -> None:
        check_mode(self.rules)
        check_word(self.engine, "engine", ENGINES, where="--engine")
        if self.mode is not None or not self.source:
            # Without a model no Problem declares a mode.
            self._check_mode(self.mode or "dynamic")
        if self.follow_s is not None:
            check_positive(self.follow_s, "the interval of --follow-every")
        if not 0 <= self.port <= 65535:
            raise UsageError("the port is not valid", expected="0 to 65535", received=str(self.port))
        for route in (self.health_route, self.predict_route):
            if not route.startswith("/"):
                raise UsageError("the route is not valid", expected="a path that starts with /", received=repr(route))
        if self.health_route == self.predict_route:
            raise UsageError("health and predictions need different routes", received=repr(self.health_route))

    def _check_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise UsageError("the mode is not valid", where="--mode", expected=", ".join(MODES), received=repr(mode))
        if (mode == "dynamic") != (not self.table):
            raise UsageError(
                "static and hybrid serving need a table, and dynamic serving has none",
                where="--prediction-table",
                expected="no table" if mode == "dynamic" else "a folder of published tables",
                received=self.table or "none",
                fix="Give --mode static or --mode hybrid" if self.table else "Give --prediction-table TABLE",
            )
        if self.cache_rows < 0 or (self.cache_rows and mode != "hybrid"):
            raise UsageError(
                "a cache belongs to hybrid serving",
                where="--answer-cache",
                expected="a number of rows, with --mode hybrid" if mode == "hybrid" else "no cache",
                received=str(self.cache_rows),
            )

    def declared(self, serving: Serving | None) -> ServeConfig:
        """The options with a mode: the one that is given, else the one that the Model's Problem declares, else dynamic.

        Args:
            serving: that the Problem declares; None for nothing.

        Raises:
            UsageError: the mode needs a table that neither names, or there is one that the mode does not use.
        """
        if self.mode is not None:
            return self
        if serving is None:
            return replace(self, mode="dynamic")
        table, cache = self.table or serving.table or None, self.cache_rows or serving.cache_rows
        return replace(self, mode=serving.mode, table=table, cache_rows=cache)

    def check_source(self) -> None:
        """Checks that there is a model, or in static mode none.

        Raises:
            UsageError: it is missing, or would not be used.
        """
        if self.mode == "static" and self.source:
            raise UsageError(
                "static serving uses no model",
                expected="--prediction-table alone",
                received=self.source,
                fix="Use --mode hybrid",
            )
        if self.mode != "static" and not self.source:
            raise UsageError("the model to serve is missing", expected="a path, or AIP_STORAGE_URI")


def config_from_environment(environment: Mapping[str, str]) -> ServeConfig:
    """Options from Vertex AI's variables and those of headrace.

    They are AIP_STORAGE_URI, AIP_HTTP_PORT, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE and AIP_DEPLOYED_MODEL_ID;
    HEADRACE_RULES, HEADRACE_ALIAS, HEADRACE_FOLLOW (seconds), HEADRACE_MODE, HEADRACE_TABLE, HEADRACE_CACHE,
    HEADRACE_REQUEST_LOG, HEADRACE_REQUEST_LOG_SHARE, HEADRACE_TRAFFIC_LOG, HEADRACE_ENGINE and
    HEADRACE_LIMITS (NAME=NUMBER, by spaces).

    Raises:
        UsageError: a port, a route, an interval, a number of rows, the share of the request log or a limit is not
            valid.
    """
    port = environment.get("AIP_HTTP_PORT")
    if port is not None and not port.isdecimal():
        raise UsageError("AIP_HTTP_PORT is not valid", expected="a port", received=repr(port))
    cache = environment.get("HEADRACE_CACHE", "0")
    if not cache.isdecimal():
        raise UsageError("HEADRACE_CACHE is not valid", expected="a number of rows", received=repr(cache))
    mode = environment.get("HEADRACE_MODE") or None
    share = environment.get("HEADRACE_REQUEST_LOG_SHARE")
    try:
        log_share = None if share is None else float(share)
    except ValueError as error:
        raise UsageError(
            "HEADRACE_REQUEST_LOG_SHARE is not valid", expected="a fraction", received=repr(share)
        ) from error
    config = ServeConfig(
        # The image always sets it.
        "" if mode == "static" else environment.get("AIP_STORAGE_URI", ""),
        mode=mode,  # type: ignore[arg-type]
        table=environment.get("HEADRACE_TABLE") or None,
        cache_rows=int(cache),
        health_route=environment.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environment.get("AIP_PREDICT_ROUTE", "/predict"),
        rules=environment.get("HEADRACE_RULES", "enforce"),  # type: ignore[arg-type]
        alias=environment.get("HEADRACE_ALIAS", "champion"),
        follow_s=_seconds(environment.get("HEADRACE_FOLLOW")),
        request_log=request_log_of(environment.get("HEADRACE_REQUEST_LOG") or None, log_share),
        traffic_log=environment.get("HEADRACE_TRAFFIC_LOG") or None,
        deployment=environment.get("AIP_DEPLOYED_MODEL_ID", ""),
        engine=environment.get("HEADRACE_ENGINE", "tensorflow"),  # type: ignore[arg-type]
        limits=limits_from(environment.get("HEADRACE_LIMITS", "").split(), "HEADRACE_LIMITS"),
    )
    # A container must be reachable from outside.
    return config if port is None else replace(config, port=int(port), host="0.0.0.0")  # noqa: S104


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise UsageError("HEADRACE_FOLLOW is not valid", expected="seconds", received=repr(text)) from None
