"""`headrace run`: compiles and runs a whole pipeline on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headrace.components.train.request import TrainingRequest
from headrace.core.rules.mode import Mode
from headrace.core.signals import raise_on_sigterm
from headrace.pipelines.commands import canary_options, options, score_options, train_options
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json, progress_console
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.local_run import plan_static, plan_tuned, publish_report, raise_for, run_plan
from headrace.pipelines.platforms.task_processes import TaskProcesses

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.components.deploy.canary.settings import CanarySettings


@click.group()
def run() -> None:
    """Run a whole pipeline on this machine.

    The pipeline is compiled to a KFP spec, and the spec is run on this machine. A killed run resumes with the same
    command. A root may be in a bucket, gs:// or s3://: artifacts of the steps and the endpoint are then in a working
    folder of this machine, below ~/.cache/headrace.
    """
    click.get_current_context().with_resource(raise_on_sigterm())


@run.command(cls=GroupedCommand)
@options.problem
@options.data
@options.root
@options.champion
@options.baseline
@options.csv
@options.rules
@canary_options.options
@train_options.options
@json_option
def static(
    problem: str,
    data: str,
    root: str,
    champion: str,
    baseline: str,
    csv: tuple[str, ...],
    rules: Mode,
    training: TrainingRequest,
    canary: CanarySettings | None,
    as_json: bool,
) -> None:
    """Train once: preprocess, train, evaluate, and, if the gate blesses the model, register and deploy it.

    With --canary a blessed model gets a part of the traffic of an endpoint that has a live version, and the run ends
    when it is promoted, exit status 0, or rolled back: 3 if it is worse, 75 if there was too little traffic.

    \b
    Examples:
      headrace run static --problem examples/natality/natality.py --data examples/natality/births.csv --root out
      headrace run static ... --max-cost 20 --machine-type g2-standard-12 --target root_mean_squared_error=1.1
    """
    # They import what the steps need while the inputs are checked.
    with TaskProcesses() as processes:
        plan = plan_static(problem, data, root, champion, baseline, csv, training, rules, canary)
        # The engine's output is redirected while it runs; the console has the original stdout or stderr.
        console = progress_console(as_json=as_json)
        console.print(f"{plan.problem_name}: static training on {data}, run {plan.run_id}", soft_wrap=True)
        summary = run_plan(plan, console, processes)
    _finish(summary, console, as_json=as_json)


@run.command(cls=GroupedCommand)
@options.problem
@options.data
@options.root
@options.champion
@options.baseline
@options.csv
@options.rules
@click.option("--trials", type=click.IntRange(1), help="Number of trials (default: from the Problem's tuning).")
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Maximum trials at a time, each in a process of its own. With 1 an equal seed gives an equal search.",
)
@train_options.options
@json_option
def tuned(
    problem: str,
    data: str,
    root: str,
    champion: str,
    baseline: str,
    csv: tuple[str, ...],
    rules: Mode,
    trials: int | None,
    parallel: int,
    training: TrainingRequest,
    as_json: bool,
) -> None:
    """Search, then deploy the best: preprocess, tune, evaluate, and, if the gate blesses the model, deploy it.

    The search space is the Problem's `tuning`, as of `headrace tune`.

    \b
    Example:
      headrace run tuned --problem natality.py --data births.csv --root out --trials 20 --parallel 2
    """
    with TaskProcesses() as processes:
        plan = plan_tuned(problem, data, root, champion, baseline, csv, training, trials or 0, parallel, rules)
        console = progress_console(as_json=as_json)
        console.print(f"{plan.problem_name}: tuned training on {data}, run {plan.run_id}", soft_wrap=True)
        summary = run_plan(plan, console, processes)
    _finish(summary, console, as_json=as_json)


@run.command(name="batch-scoring", cls=GroupedCommand)
@options.problem
@options.data
@options.root
@click.option(
    "--version", default="", metavar="VERSION", help="Version of the registered model (default: the champion)."
)
@score_options.sink
@score_options.table
@score_options.partition_by
@score_options.approach
@options.csv
@options.rules
@score_options.constant
@score_options.batch
@score_options.batch_rows
@click.option(
    "--max-divergence",
    default=0.0,
    metavar="D",
    help="Maximum divergence of the predictions from the label in training, 0 to 1 (default: 0, any).",
)
@click.option("--notify", "webhook", default="", metavar="URL", help="URL that JSON is posted to when the run ends.")
@score_options.elsewhere
@runner_command.optional_runner
@json_option
def batch_scoring(
    problem: str,
    data: str,
    root: str,
    constants: tuple[str, ...],
    elsewhere: Mapping[str, Any],
    runner: Mapping[str, Any],
    as_json: bool,
    **given: Any,
) -> None:
    """Score many rows: the champion's predictions, checked and published under ROOT/predictions.

    \b
    Example:
      headrace run batch-scoring --problem natality.py --data births.parquet --root out --sink table
    """
    from headrace.core.saved_model.constants import constants_from
    from headrace.pipelines.local_scoring import plan_batch

    plan = plan_batch(
        problem,
        data,
        root,
        constants=constants_from(constants),
        endpoint=score_options.as_json(score_options.endpoint_of(elsewhere)),
        job=score_options.as_json(score_options.job_of(elsewhere)),
        runner=runner_command.as_json(runner),
        **given,
    )
    console = progress_console(as_json=as_json)
    console.print(f"{plan.problem_name}: batch scoring of {data}, run {plan.run_id}", soft_wrap=True)
    _finish(run_plan(plan, console), console, as_json=as_json)


@run.command()
@click.option(
    "--root",
    required=True,
    metavar="DIR",
    help="Pipeline root of `headrace dynamic init`, or its folder dynamic/NAME.",
)
@click.option("--run", "run_id", default="", metavar="ID", help="Only the run of this id, which the ledger names.")
@json_option
def dynamic(root: str, run_id: str, as_json: bool) -> None:
    """Train on what arrived: all that waits becomes one run, and so on until nothing waits.

    A run checks the new spans, trains, compares the model with the champion on the newest span, and deploys it if it
    is better. Whoever is killed does no harm: the same command, or `headrace tick`, continues.
    """
    from headrace.pipelines.dynamic.command import run_all, run_one

    console = progress_console(as_json=as_json)
    report = print_json if as_json else None
    if run_id:
        run_one(root, run_id, console, report)
    else:
        run_all(root, console, report)


def _finish(summary: dict[str, Any], console: Console, *, as_json: bool) -> None:
    """Writes the report, prints the summary, and raises the run's error.

    Raises:
        GateRefused: the gate refused the model.
        HeadraceError: a step failed.
    """
    from headrace.pipelines.console import print_run

    page = publish_report(summary)
    if as_json:
        print_json({**summary, "report": page})
    else:
        print_run(console, summary, page)
    raise_for(summary)
