"""`headrace submit`: submits a compiled pipeline to a platform, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.commands import platform_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json, progress_console
from headrace.pipelines.commands.option_groups import GroupedCommand, folded, group, option
from headrace.pipelines.commands.platform_options import PlatformLocation
from headrace.pipelines.submission.prepare import prepare

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import PlatformRun, Service

poll = option(
    "--poll-seconds",
    type=click.FloatRange(min=0.01),
    default=10.0,
    show_default=True,
    rare=True,
    help="Time between two requests for the run's state, in seconds.",
)
_INPUTS = (
    ("--problem", "FILE", "Problem file, local, on gs:// or s3://; a local one is copied below --root."),
    ("--data", "PATH", "Rows, as the tasks read them: gs://..., s3://..., bigquery://..., or a path of the cluster."),
    ("--root", "PATH", "Pipeline root, for runs and models: gs://..., s3://..., or a path of the cluster."),
    ("--data-version", "TEXT", "Version of data that cannot be read from here (default: measured)."),
    ("--champion", "PATH", "Model to compare with, by the gate's champion_tolerance."),
    ("--baseline", "PATH", "Statistics that drift is measured against."),
)


def inputs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a pipeline's inputs to a command, which receives them as a mapping in `inputs`."""
    of_run = group("Inputs of the pipeline")
    return folded(
        (
            *(of_run(name, default="", metavar=metavar, help=text) for name, metavar, text in _INPUTS),
            of_run(
                "--csv", multiple=True, metavar="NAME=VALUE", help="CSV dialect, as in `headrace run` (repeatable)."
            ),
            of_run(
                "--parameter", "-p", multiple=True, metavar="NAME=VALUE", help="Parameter of the pipeline (repeatable)."
            ),
        ),
        "inputs",
        dict,
    )(command)


@click.command(cls=GroupedCommand)
@click.argument("spec", metavar="FILE.yaml")
@platform_options.place
@inputs
@click.option("--name", default="", metavar="NAME", help="Prefix of the run's name (default: the problem's name).")
@click.option("--no-cache", is_flag=True, help="Run every task, whatever the platform has cached.")
@click.option(
    "--wait", is_flag=True, help="Show the tasks' progress until the run has ended, and exit with its status."
)
@click.option("--dry-run", is_flag=True, help="Print the run's name and parameters as JSON; submit nothing.")
@poll
@json_option
def submit(
    spec: str,
    place: PlatformLocation,
    inputs: dict[str, Any],
    name: str,
    no_cache: bool,
    wait: bool,
    dry_run: bool,
    poll_seconds: float,
    as_json: bool,
) -> None:
    """Submit a compiled pipeline to Vertex AI or Kubeflow.

    The run's name is derived from the pipeline, its parameters and the data's version: the same command is the same
    run. A run that failed or was cancelled is retried; its finished tasks are cached.

    \b
    Exit status with --wait, as of `headrace run`: 0 done, 2 a mistake, 3 rejected by the gate, 75 the platform failed.
    Examples:
      headrace submit static.yaml --platform vertex --options vertex.toml --problem natality.py \\
        --data gs://my-bucket/births.csv --root gs://my-bucket/headrace --wait
      headrace submit any.yaml --platform kubeflow --kubeflow-url http://127.0.0.1:8888 --parameter rows=100
    """
    from headrace.core.problem import copies
    from headrace.core.retry import RetryPolicy
    from headrace.pipelines.submission import submitting

    prepared = prepare(spec, place, inputs, name, cache=not no_cache)
    if dry_run:
        print_json({"run_id": prepared.run_id, "parameters": prepared.submission.parameters})
        return
    with platform_options.service(place) as service:
        run_id = service.run_id(prepared.run_id)
        copies.write(prepared.upload)
        run, new = submitting.submit(service, run_id, prepared.submission, RetryPolicy())
        if not as_json:
            message = f"submitted to {place.platform}" if new else f"already on {place.platform}, {run.state}"
            click.echo(f"{run.run_id}: {message}")
            click.echo(run.page)
        if wait:
            follow_to_end(service, run, place, poll_seconds, as_json=as_json)
        elif as_json:
            print_json({**run.to_json(), "new": new})
        else:
            click.echo(f"Follow it: headrace status {run.run_id} {place.arguments} --wait")


def follow_to_end(
    service: Service, run: PlatformRun, place: PlatformLocation, poll_seconds: float, *, as_json: bool = False
) -> None:
    """Shows a run's tasks until it has ended, then its summary, and raises its error.

    With `as_json` it prints run and summary as one JSON value, and tasks on stderr.

    Raises:
        GateRefused: the gate refused the model.
        HeadraceError: the run failed.
    """
    from headrace.core.retry import RetryPolicy
    from headrace.pipelines.console import display, print_run
    from headrace.pipelines.submission import follow, outcome
    from headrace.pipelines.submission.tasks import leaves

    console = progress_console(as_json=as_json)
    # Tolerates a platform that is down for minutes: the run continues meanwhile.
    policy = RetryPolicy(total_s=max(600.0, 6 * poll_seconds))
    with display(console, tuple(leaves(run.spec))) as listener:
        run = follow.follow(service, run, listener, poll_s=poll_seconds, policy=policy)
    summary = outcome.read_summary(run)
    if as_json:
        print_json({**run.to_json(), "summary": summary})
    elif summary is not None:
        print_run(console, summary, None)
    outcome.raise_for(run, summary, logs=f"headrace logs {run.run_id} {place.arguments}")
