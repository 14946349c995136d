"""`headrace run tuned`: static training whose model is the best of a search for parameters."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console

from headrace.components.train.request import Request
from headrace.core.problem.file import load_problem
from headrace.core.steps.step import identity
from headrace.pipelines.commands import options, train_options
from headrace.pipelines.commands.option_groups import GroupedCommand

if TYPE_CHECKING:
    from headrace.pipelines.commands.run import Plan

_STEPS = ("preprocess", "tune", "evaluate", "register", "deploy")


@click.command(cls=GroupedCommand)
@options.problem
@options.data
@options.root
@options.champion
@options.baseline
@options.csv
@click.option("--trials", type=click.IntRange(1), help="How many, instead of what the Problem's tuning says.")
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Trials at a time, each in a process of its own. With 1 the same seed gives the same search.",
)
@train_options.options
def tuned(
    problem: str,
    data: str,
    root: str,
    champion: str,
    baseline: str,
    csv: tuple[str, ...],
    trials: int | None,
    parallel: int,
    training: Request,
) -> None:
    """Search, then deploy the best: preprocess, tune, evaluate, and, if the gate blesses the model, deploy it.

    What is searched is the Problem's `tuning`, as `headrace tune` reads it.

    \b
    Example:
      headrace run tuned --problem natality.py --data births.csv --root out --trials 20 --parallel 2
    """
    from headrace.pipelines.commands import run

    plan = plan_tuned(problem, data, root, champion, baseline, csv, training, trials or 0, parallel)
    console = Console(file=sys.stdout, highlight=False)
    console.print(f"{plan.problem_name}: tuned training on {data}, run {plan.run_id}", soft_wrap=True)
    run.finish(run.run_plan("tuned", _STEPS, plan, console), console)


def plan_tuned(
    problem: str,
    data: str,
    root: str,
    champion: str,
    baseline: str,
    csv: tuple[str, ...],
    training: Request,
    trials: int,
    parallel: int,
) -> Plan:
    """Checks all that can be checked before any work; `trials` of 0 takes what the Problem says.

    Raises:
        UserError: with what is wrong, where, and what was expected.
    """
    from headrace.components.tune.trial import tuning_of
    from headrace.pipelines.commands import run

    plan = run.plan_static(problem, data, root, champion, baseline, csv, training)
    file = load_problem(problem)
    tuning_of(file, training)
    run_id = f"{plan.problem_name}-{identity('tuned-training', training=plan.run_id, trials=trials)[:12]}"
    kept = {name: value for name, value in plan.arguments.items() if name != "training_digest"}
    arguments = {**kept, "tuning_digest": file.tuning_digest, "run_id": run_id, "trials": trials, "parallel": parallel}
    return dataclasses.replace(plan, run_id=run_id, arguments=arguments)
