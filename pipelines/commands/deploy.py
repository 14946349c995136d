"""`headrace deploy`: puts a Model behind an endpoint of this machine, at once or by a canary."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import click

from headrace.core.artifacts.kinds import ENDPOINT
from headrace.core.errors import UsageError
from headrace.core.storage.output_check import check_output
from headrace.core.text import counted
from headrace.pipelines.commands import canary_options, options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.run_argument import MODEL

if TYPE_CHECKING:
    from headrace.components.deploy.canary.settings import CanarySettings
    from headrace.components.deploy.local.publisher import LocalDeployConfig


@click.command(cls=GroupedCommand)
@click.option(
    "--model",
    type=MODEL,
    metavar="DIR_OR_RUN",
    help="Model from `headrace train`, or a run. Without it, or where its Problem declares static serving, the table "
    "is a version of its own.",
)
@click.option("--endpoint", required=True, metavar="DIR", help="Folder of the endpoint, which is created if needed.")
@options.rules
@click.option(
    "--prediction-table",
    "table",
    metavar="TABLE",
    help="Folder of published tables to answer from first, as --mode hybrid of `headrace serve` does, or alone; 'none' "
    "for no table (default: what the Model's Problem declares, else what the endpoint has).",
)
@option(
    "--answer-cache",
    "cache_rows",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="ROWS",
    rare=True,
    help="Maximum number of fresh answers that a server with --prediction-table caches.",
)
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    help="Port of the endpoint, for its life (default: the one that it has, or a free one).",
)
@canary_options.options
@option(
    "--registry",
    default="",
    metavar="DIR",
    rare=True,
    help="Registry of the Model, which a rollback changes too (default: the one whose folder holds the Model).",
)
@option(
    "--request-log-share",
    "log_share",
    type=click.FloatRange(0, 1),
    metavar="FRACTION",
    rare=True,
    help="Fraction of the predicted rows that the endpoint logs in its folder `requests` (default: what it has, at "
    "first 0).",
)
@option(
    "--labels",
    default="",
    metavar="PATH",
    rare=True,
    help="Table with the key and the label of logged requests, which the canary's losses are measured with; requires "
    "--problem.",
)
@option(
    "--problem",
    default="",
    metavar="FILE",
    rare=True,
    help="Problem file that names the key and the label of --labels.",
)
@click.option("--why", default="", metavar="TEXT", help="Reason, for the history.")
@json_option
def deploy(
    model: str | None,
    endpoint: str,
    rules: Any,
    table: str | None,
    cache_rows: int,
    port: int,
    registry: str,
    log_share: float | None,
    labels: str,
    problem: str,
    why: str,
    as_json: bool,
    canary: CanarySettings | None,
) -> None:
    """Deploy a Model, or a table alone, to an endpoint on this machine; the previous version is kept for a rollback.

    The endpoint answers at one address for its life. A new version is checked before it gets traffic, and no request
    fails at the switch. With --canary it gets a part of the traffic first. A canary that is worse is rolled back and
    marked as bad, exit status 3; one with too little traffic before the deadline goes back, exit status 75.
    """
    from headrace.components.deploy.local import publisher
    from headrace.components.deploy.registries import check_registry, refuse_bad, registry_of

    if bool(labels) != bool(problem) or (labels and canary is None):
        raise UsageError(
            "--labels needs the Problem, and a canary", where="--labels", expected="--canary, --labels and --problem"
        )
    if registry:
        check_registry(registry)
    with tempfile.TemporaryDirectory() as folder:
        if model is not None:
            static = publisher.static_table(model, "" if table == "none" else table)
            if static is not None:
                refuse_bad(registry or registry_of(model), publisher.version_in(model))
                model, table = None, static
        if model is None:
            model, table = _pinned(table, cache_rows, folder), "none"
        check_output(endpoint, ENDPOINT, option="--endpoint", inputs={"--model": model})
        config = publisher.LocalDeployConfig(
            model=model,
            endpoint=endpoint,
            rules=rules,
            table="" if table == "none" else table,
            cache_rows=cache_rows,
            log_share=log_share,
            port=port,
            registry=registry,
            why=why,
        )
        if canary is not None:
            _roll_out(config, canary, labels, problem, as_json)
        else:
            _deploy(config, as_json)


def _pinned(table: str | None, cache_rows: int, folder: str) -> str:
    """The folder of a version that is a table alone."""
    if not table or table == "none" or cache_rows:
        raise UsageError(
            "a model or a table to deploy is missing" if not cache_rows else "a cache belongs to a model",
            where="--model",
            expected="--model DIR_OR_RUN, or --prediction-table TABLE alone",
        )
    from pathlib import Path

    from headrace.components.serve.modes.pin import pin

    pin(table, Path(folder))
    return folder


def _deploy(config: LocalDeployConfig, as_json: bool) -> None:
    from headrace.components.deploy.local.publisher import deploy as deploy_now

    with showing("deploy", config.endpoint) as (console, report):
        result = deploy_now(config, report)
        if as_json:
            print_json(result, console.file)
            return
        console.print(
            f"version {result.version} answers at {result.url} ({counted(result.checked_rows, 'row')} checked)"
        )


def _roll_out(config: LocalDeployConfig, settings: CanarySettings, labels: str, problem: str, as_json: bool) -> None:
    from headrace.components.rollout.replay import read_losses
    from headrace.components.rollout.rollout import RolloutConfig, raise_for, roll_out

    with showing("deploy", config.endpoint) as (console, report):
        losses = read_losses(labels, problem)
        result = roll_out(RolloutConfig(config, settings), report, losses=losses)
        if as_json:
            print_json(result, console.file)
        else:
            console.print(f"version {result.version}: {result.outcome}; {result.live} answers at {result.url}")
            for reason in result.reasons:
                console.print(reason)
    raise_for(result, config.endpoint)
