"""`headrace rollback`: returns an endpoint to the version before, with its registry and its published predictions."""

from __future__ import annotations

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands import announce_option
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.progress_output import showing

_SIBLING = "ROOT/predictions/NAME"


@click.command()
@click.argument("endpoint", metavar="ENDPOINT")
@click.option("--to", metavar="VERSION", help="Version to return to (default: the one before).")
@click.option(
    "--predictions",
    is_flag=False,
    flag_value=_SIBLING,
    default="",
    metavar="[DIR]",
    help="Also set back published predictions of the bad version: their folder (default: ROOT/predictions/NAME, beside "
    "the endpoint's).",
)
@click.option(
    "--registry", default="", metavar="DIR", help="Registry of the versions (default: that of the deployment)."
)
@click.option("--why", default="", metavar="TEXT", help="Reason, for the histories.")
@announce_option.announce
@json_option
def rollback(
    endpoint: str,
    to: str | None,
    predictions: str,
    registry: str,
    why: str,
    destinations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Return ENDPOINT to the version before: traffic, then the registry's aliases, then predictions on request.

    The version that is left is marked as bad: no rerun and no schedule brings it back. A rollback that was killed is
    finished by the same command; a second one changes nothing. ENDPOINT is a folder, ROOT/endpoints/NAME.
    """
    from headrace.components.deploy.open import is_remote, open_endpoint
    from headrace.components.rollback.rollback import rollback as roll_back

    if predictions == _SIBLING:
        predictions = _beside(endpoint)
    announce_option.check(destinations)
    opened = open_endpoint(endpoint, registry=registry)
    # Before a log is written beside it.
    opened.state()
    with showing("rollback", "" if is_remote(endpoint) else endpoint) as (console, report):
        result = roll_back(
            opened,
            report,
            to=to,
            predictions=predictions,
            registry=registry,
            why=why,
        )
        told = announce_option.send_to(destinations, registry or opened.registry())
        if as_json:
            print_json(result, console.file)
            return
        for step in result.steps:
            console.print(f"{step.name:<12}{step.done}")
        for line in told:
            console.print(f"{'event':<12}{line}")


def _beside(endpoint: str) -> str:
    """The folder of published predictions of the root of an endpoint."""
    root, kind, name = endpoint.rstrip("/").rpartition("/endpoints/")
    if not kind or "/" in name:
        raise UsageError(
            "the endpoint is in no root",
            where="--predictions",
            expected="the folder of the published predictions, or an endpoint ROOT/endpoints/NAME",
            received=endpoint,
        )
    return f"{root}/predictions/{name}"
