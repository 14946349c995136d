"""`headrace endpoint canary`: takes steps of a canary at Vertex AI or KServe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands import canary_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.progress_output import showing

if TYPE_CHECKING:
    from headrace.components.deploy.canary.settings import CanarySettings


@click.command(cls=GroupedCommand)
@click.argument("folder", metavar="ENDPOINT")
@click.argument("version")
@canary_options.options
@click.option(
    "--traffic-log",
    required=True,
    metavar="URI",
    help="Folder or gs:// prefix where the servers of both versions write their counts, as of `headrace serve "
    "--traffic-log`.",
)
@click.option(
    "--request-log",
    default="",
    metavar="URI",
    help="Folder, or prefix on gs:// or s3://, where the servers of both versions log a sample of the requests, as of "
    "`headrace serve --request-log`: both versions, of the registry, score those of the canary again.",
)
@click.option(
    "--labels",
    default="",
    metavar="PATH",
    help="Table with the key and the label of logged requests, which the canary's losses are measured with; requires "
    "--request-log and --problem.",
)
@click.option(
    "--problem", default="", metavar="FILE", help="Problem file that names the key and the label of --labels."
)
@click.option("--again", is_flag=True, help="Try a version again whose canary was withdrawn.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Take a step this often, in seconds, until the canary ends (default: one step).",
)
@click.option(
    "--registry", default="", metavar="DIR", help="Registry of the versions (default: that of the deployment)."
)
@click.option("--why", default="", metavar="TEXT", help="Reason, for the history.")
@json_option
def canary(
    folder: str,
    version: str,
    traffic_log: str,
    request_log: str,
    labels: str,
    problem: str,
    again: bool,
    every_s: float | None,
    registry: str,
    why: str,
    as_json: bool,
    canary: CanarySettings | None,
) -> None:
    """Take one step of a canary of VERSION at Vertex AI or KServe.

    VERSION is deployed, with or without traffic. Each step reads what the servers counted, and then widens the canary,
    promotes it, gives its traffic back, or waits. With --every one call takes all steps; without it, call it again,
    every minute or so, until the canary ends. Exit status 0 while it is under way and once it is promoted, 3 if it was
    rolled back, 75 if it was withdrawn. Without --canary its steps are 10 and 50 %.

    \b
    Example:
      headrace endpoint canary kserve://models/natality VERSION --traffic-log gs://bucket/traffic --canary 10,50
    """
    from headrace.components.deploy.canary.settings import CanarySettings
    from headrace.components.deploy.open import open_service
    from headrace.components.rollout.replay import ServiceReplay, check_request_log, read_losses
    from headrace.components.rollout.service import RolloutStep, ServiceRolloutConfig, advance, raise_for_step
    from headrace.components.rollout.service_watch import watch

    if problem and not labels:
        raise UsageError(
            "--problem is of the labels", where="--problem", expected="--request-log, --labels and --problem"
        )
    config = ServiceRolloutConfig(version, traffic_log, canary or CanarySettings(), registry, again, why)
    opened = open_service(folder, registry=registry)
    models = registry or (opened.registry() if request_log else "")
    check_request_log(config.settings, request_log, models, labels, problem)
    losses = read_losses(labels, problem)
    with showing("canary") as (console, report):
        replayed = ServiceReplay(models, request_log, losses, report) if request_log else None

        def print_step(step: RolloutStep) -> None:
            shares = ", ".join(f"{one} {percent} %" for one, percent in step.traffic.items())
            console.print(f"version {version}: {step.outcome}; {shares}")
            for reason in step.reasons:
                console.print(reason)

        if every_s is not None:
            observe = (lambda _: None) if as_json else print_step
            step = watch(opened, config, every_s, report, observe=observe, replayed=replayed)
        else:
            step = advance(opened, config, report, replayed=replayed)
            if not as_json:
                print_step(step)
        if as_json:
            print_json(step, console.file)
    raise_for_step(step, folder)
