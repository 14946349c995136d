"""`headrace deploy`: puts a Model behind an endpoint of this machine, at once or by a canary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.core.artifacts.kinds import ENDPOINT
from headrace.core.errors import UsageError
from headrace.core.storage.output_check import check_output
from headrace.core.text import counted
from headrace.pipelines.commands import options
from headrace.pipelines.commands.durations import Duration
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.progress_output import showing

if TYPE_CHECKING:
    from headrace.components.deploy.canary.settings import CanarySettings

# Settings that have options of their own.
_OWN = ("steps", "minimum_requests", "deadline_s")


@click.command(cls=GroupedCommand)
@options.model
@click.option("--endpoint", required=True, metavar="DIR", help="Folder of the endpoint, which is created if needed.")
@options.rules
@click.option(
    "--prediction-table",
    "table",
    metavar="TABLE",
    help="Folder of published tables to answer from first, as --mode hybrid of `headrace serve` does; none for none "
    "(default: what the endpoint has).",
)
@option(
    "--cache",
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
    help="Port of the endpoint, which it keeps for life (default: the one that it has, or a free one).",
)
@click.option(
    "--canary",
    default="",
    metavar="PERCENTS",
    help="Try the version on a part of the traffic first, such as 10 or 5,25,50, and promote it or go back by itself.",
)
@click.option(
    "--watch",
    type=Duration(),
    metavar="DURATION",
    help="Deadline of the canary, such as 30m or 2h: without enough evidence it goes back (default: 1h).",
)
@click.option(
    "--minimum-requests",
    type=click.IntRange(min=1),
    help="Requests of both versions at each step of the canary (default: 2000).",
)
@option(
    "--canary-setting",
    multiple=True,
    metavar="NAME=VALUE",
    rare=True,
    help="Another setting of the canary, such as latency_tolerance=2; docs/canary.md lists them (repeatable).",
)
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
    model: str,
    endpoint: str,
    rules: Any,
    table: str | None,
    cache_rows: int,
    port: int,
    canary: str,
    watch: float | None,
    minimum_requests: int | None,
    canary_setting: tuple[str, ...],
    registry: str,
    log_share: float | None,
    labels: str,
    problem: str,
    why: str,
    as_json: bool,
) -> None:
    """Deploy a Model to an endpoint on this machine; the previous version is kept for a rollback.

    The endpoint answers at one address for its life. A new version is checked before it gets traffic, and no request
    fails at the switch. With --canary it gets a part of the traffic first. A canary that is worse is rolled back and
    marked as bad, exit status 3; one with too little traffic before the deadline goes back, exit status 75.
    """
    from headrace.components.deploy.local import publisher
    from headrace.components.deploy.registries import check_registry

    settings = canary_settings(canary, watch, minimum_requests, canary_setting)
    if bool(labels) != bool(problem) or (labels and settings is None):
        raise UsageError(
            "--labels needs the Problem, and a canary", where="--labels", expected="--canary, --labels and --problem"
        )
    check_output(endpoint, ENDPOINT, option="--endpoint", inputs={"--model": model})
    if registry:
        check_registry(registry)
    config = publisher.DeployConfig(
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
    if settings is not None:
        _roll_out(config, settings, labels, problem, as_json)
        return
    with showing("deploy", endpoint) as (console, report):
        result = publisher.deploy(config, report)
        if as_json:
            print_json(result, console.file)
            return
        console.print(
            f"version {result.version} answers at {result.url} ({counted(result.checked_rows, 'row')} checked)"
        )


def _roll_out(config: Any, settings: CanarySettings, labels: str, problem: str, as_json: bool) -> None:
    from headrace.components.rollout.rollout import RolloutConfig, raise_for, roll_out

    with showing("deploy", config.endpoint) as (console, report):
        losses = None
        if labels:
            from headrace.components.deploy.canary.labels import read_labels
            from headrace.core.problem.file import load_problem

            losses = read_labels(load_problem(problem).problem, labels)
        result = roll_out(RolloutConfig(config, settings), report, losses=losses)
        if as_json:
            print_json(result, console.file)
        else:
            console.print(f"version {result.version}: {result.outcome}; {result.live} answers at {result.url}")
            for reason in result.reasons:
                console.print(reason)
    raise_for(result, config.endpoint)


def canary_settings(
    canary: str, watch: float | None, minimum_requests: int | None, others: tuple[str, ...]
) -> CanarySettings | None:
    """The settings of the canary; None for a deployment without one."""
    if not canary:
        without = {"--watch": watch, "--minimum-requests": minimum_requests, "--canary-setting": others}
        for name in (name for name, value in without.items() if value):
            raise UsageError(f"{name} requires --canary", where=name, expected="--canary PERCENTS")
        return None
    from headrace.components.deploy.canary.settings import CanarySettings

    given: dict[str, Any] = {"steps": [_number("--canary", part) for part in canary.split(",")]}
    if watch is not None:
        given["deadline_s"] = watch
    if minimum_requests is not None:
        given["minimum_requests"] = minimum_requests
    for text in others:
        name, equals, value = text.partition("=")
        if not equals or name in _OWN:
            raise UsageError(
                "the setting of the canary is not valid",
                where="--canary-setting",
                expected="NAME=VALUE, of a setting without an option of its own",
                received=text,
            )
        given[name] = value if name == "at_deadline" else _number("--canary-setting", value)
    try:
        return CanarySettings.from_json(given)
    except ValueError as error:
        raise UsageError(
            "the setting of the canary does not exist", where="--canary-setting", received=str(error)
        ) from error


def _number(where: str, text: str) -> int | float:
    try:
        return float(text) if "." in text or "e" in text else int(text)
    except ValueError as error:
        raise UsageError("the number is not valid", where=where, expected="a number", received=repr(text)) from error
