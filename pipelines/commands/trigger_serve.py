"""`headrace trigger serve`: the HTTP service that triggers dynamic training."""

from __future__ import annotations

import logging

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands import trigger_options
from headrace.pipelines.commands.option_groups import GroupedCommand

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
audience = click.option(
    "--audience",
    default="",
    metavar="URL",
    help="Audience of the ID tokens in `Authorization: Bearer`: by convention, the URL of the service.",
)
iap_audience = click.option(
    "--iap-audience",
    default="",
    metavar="NAME",
    help="Audience of Identity-Aware Proxy, which lets browsers in: /projects/NUMBER/locations/REGION/services/NAME on "
    "Cloud Run, /projects/NUMBER/apps/PROJECT on App Engine.",
)
allow = click.option("--allow", multiple=True, metavar="EMAIL", help="Account that may use the service (repeatable).")
data_below = click.option(
    "--data-below",
    multiple=True,
    metavar="PLACE",
    help="Place below which requests may name data, such as gs://my-bucket/flights (repeatable; default: requests name "
    "no data).",
)


@click.command(cls=GroupedCommand)
@trigger_options.settings
@audience
@iap_audience
@allow
@data_below
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 for a free one.",
)
@click.option("--no-login", is_flag=True, help="Let everybody on this machine in; only on a loopback address.")
def serve(
    settings: str,
    audience: str,
    iap_audience: str,
    allow: tuple[str, ...],
    data_below: tuple[str, ...],
    host: str,
    port: int,
    no_login: bool,
) -> None:
    """Serve a page with runs and a button, and routes that start runs, until SIGTERM or Ctrl-C.

    \b
    Routes, each with the ID token of an account that --allow names:
      POST /runs     {} or {"data": "gs://...", "span": "2026-11-20"} -> {"run": {"id", "state", ...}, ...}
      GET  /runs     the run under way, and the runs that ended
      GET  /         the same as a page
      GET  /health   without a token
    """
    from headrace.pipelines.dynamic import settings as dynamic
    from headrace.pipelines.triggers.service.app import TriggerServiceConfig
    from headrace.pipelines.triggers.service.login import Login
    from headrace.pipelines.triggers.service.serve import serve as work

    login = None
    if not no_login:
        login = Login(audience, allow, iap_audience=iap_audience)
    elif host not in _LOOPBACK or audience or iap_audience or allow:
        raise UsageError(
            "without a login the service must not be reached from other machines",
            where="--no-login",
            expected="--host 127.0.0.1, and none of --audience, --iap-audience and --allow",
            received=host,
        )
    found = dynamic.read(settings)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    config = TriggerServiceConfig(lambda: dynamic.read(found.uri), login, data_below)
    work(config, host, port, lambda url: click.echo(f"serving on {url}"))
