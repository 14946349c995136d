"""Server options: from the command line, from Python, and from Vertex AI's environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.components.serve.limits import Limits
from headrace.core.checks import check_positive
from headrace.core.errors import UsageError
from headrace.core.rules.mode import Mode, check_mode


@dataclass(frozen=True)
class ServeConfig:
    """Options of the server.

    Args:
        source: an endpoint folder (its live version), a Model artifact, a bare SavedModel, or a registry, local or on
            gs://; or a registry of Vertex AI.
        alias: of a registry's version to serve.
        follow_s: seconds between looks for a new version behind the alias, to switch to it; None for no looks.
        name: of the model in URLs; by default the endpoint's or the problem's.
        host: address to listen on.
        port: to listen on; 0 for a free one.
        ready_file: JSON file with the url, written when the server is ready; removed when it exits.
        announce: folder in which the server announces itself from its start.
        inherited_lock: descriptor to close after the announcement.
        health_route: of Vertex AI's contract.
        predict_route: of Vertex AI's contract.
        limits: of requests.
        rules: "enforce" refuses rows that break the Model's rules, "warn" predicts and counts them.
        signature: of the SavedModel.
        constants: a value for each input of shape [], which is one for all rows.
        access_log: whether to write a JSON line per request to the standard output.

    Raises:
        UsageError: a port, a route or the mode of rules is not valid.
    """

    source: str
    alias: str = "champion"
    follow_s: float | None = None
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    ready_file: str | None = None
    announce: str | None = None
    inherited_lock: int | None = None
    health_route: str = "/health"
    predict_route: str = "/predict"
    limits: Limits = field(default_factory=Limits)
    rules: Mode = "enforce"
    signature: str = "serving_default"
    constants: Mapping[str, str] = field(default_factory=dict)
    access_log: bool = False

    def __post_init__(self) -> None:
        check_mode(self.rules)
        if self.follow_s is not None:
            check_positive(self.follow_s, "the interval of --follow")
        if not 0 <= self.port <= 65535:
            raise UsageError("the port is not valid", expected="0 to 65535", received=str(self.port))
        for route in (self.health_route, self.predict_route):
            if not route.startswith("/"):
                raise UsageError("the route is not valid", expected="a path that starts with /", received=repr(route))
        if self.health_route == self.predict_route:
            raise UsageError("health and predictions need different routes", received=repr(self.health_route))


def config_from_environment(environment: Mapping[str, str]) -> ServeConfig:
    """Options from Vertex AI's variables, AIP_STORAGE_URI, AIP_HTTP_PORT, AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE, and
    from HEADRACE_RULES, the mode of rules, HEADRACE_ALIAS, and HEADRACE_FOLLOW, in seconds.

    Raises:
        UsageError: a port, a route or an interval is not valid.
    """
    port = environment.get("AIP_HTTP_PORT")
    if port is not None and not port.isdecimal():
        raise UsageError("AIP_HTTP_PORT is not valid", expected="a port", received=repr(port))
    config = ServeConfig(
        environment.get("AIP_STORAGE_URI", ""),
        health_route=environment.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environment.get("AIP_PREDICT_ROUTE", "/predict"),
        rules=environment.get("HEADRACE_RULES", "enforce"),  # type: ignore[arg-type]
        alias=environment.get("HEADRACE_ALIAS", "champion"),
        follow_s=_seconds(environment.get("HEADRACE_FOLLOW")),
    )
    # A container must be reachable from outside.
    return config if port is None else replace(config, port=int(port), host="0.0.0.0")  # noqa: S104


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise UsageError("HEADRACE_FOLLOW is not valid", expected="seconds", received=repr(text)) from None
