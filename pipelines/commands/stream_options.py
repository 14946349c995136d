"""Options of stream scoring: the endpoint that scores instead of models in the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.pipelines.commands.option_groups import folded, group

if TYPE_CHECKING:
    from headrace.components.score.options import EndpointOptions

_endpoint = group("Endpoint")


def _options(given: dict[str, Any]) -> EndpointOptions | None:
    from headrace.components.score.options import EndpointOptions

    return EndpointOptions(**given) if given["url"] else None


# A command receives it as `endpoint`: EndpointOptions, or None without a URL.
endpoint = folded(
    (
        _endpoint(
            "--endpoint-url",
            "url",
            default="",
            metavar="URL",
            help="Score by requests to this endpoint instead of loading models: http(s)://HOST/v1/models/NAME:predict.",
        ),
        _endpoint(
            "--endpoint-token-variable",
            "token_variable",
            default="",
            metavar="NAME",
            help="Environment variable with a bearer token (default: Google's credentials on *.googleapis.com).",
        ),
        _endpoint(
            "--endpoint-rows",
            "rows_per_request",
            default=960,
            show_default=True,
            metavar="N",
            help="Maximum records per request; 1 makes each record a request.",
        ),
        _endpoint(
            "--endpoint-concurrency",
            "concurrency",
            default=4,
            show_default=True,
            metavar="N",
            help="Maximum concurrent requests per process.",
        ),
    ),
    "endpoint",
    _options,
)
