"""`headrace tune`: runs a hyperparameter search from a shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.problem.tuning import split_parameters
from headrace.pipelines.commands import options, train_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.console import print_lines
from headrace.pipelines.training_lines import training_lines

if TYPE_CHECKING:
    from headrace.components.train.request import TrainingRequest
    from headrace.components.tune.tried import TrialResult


@click.command(cls=GroupedCommand)
@options.problem
@options.examples
@options.output
@click.option("--trials", type=click.IntRange(1), help="Number of trials (default: from the Problem's tuning).")
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Maximum trials at a time, each in a process of its own. With 1 an equal seed gives an equal search.",
)
@click.option("--folder", metavar="DIR", help="Folder of the search's state (default: OUTPUT.search).")
@json_option
@train_options.options
def tune(
    problem: str,
    examples: str,
    output: str,
    trials: int | None,
    parallel: int,
    folder: str | None,
    as_json: bool,
    training: TrainingRequest,
) -> None:
    """Try parameters of training, and export the Model of the trial with the minimum eval loss.

    \b
    Declare the search space in the Problem file:
      problem = Problem(..., tuning=Tuning(trials=20, space={
          "learning_rate": Range(1e-4, 1e-1, log=True),
          "hidden_units": Choice([[32], [64, 32]]),
      }))

    \b
    Example:
      headrace tune --problem natality.py --examples out/examples --output out/model --parallel 2

    Trials that are worse than others at the same epoch are pruned. After a kill, the same command resumes the search,
    and with more --trials extends it.
    """
    file = load_problem(problem)
    from headrace.components.tune import search

    config = search.TuneConfig(
        examples=examples,
        output=output,
        folder=folder or storage.sibling(output, ".search"),
        trials=trials,
        parallel=parallel,
        request=training,
    )
    config.check_output(problem)
    with showing("tune", output) as (console, report):
        result = search.tune(file, config, report)
        if as_json:
            print_json(
                {
                    "best": result.best.number,
                    "trials": result.trials,
                    "training": result.training.to_json(),
                    "output": output,
                },
                console.file,
            )
            return
        _print(console, result.trials, result.best.number)
        console.print()
        said = [
            ("Best", f"trial {result.best.number}: {declaration(result.best.parameters)}"),
            *training_lines(result.training.to_json()),
            ("Model", f"version {result.training.model_version}: {output}"),
        ]
        print_lines(console, said)


def declaration(parameters: Mapping[str, Any]) -> str:
    """Formats parameters as in a Problem file."""
    training, hyperparameters = split_parameters(parameters)
    parts = []
    if training:
        parts.append(f"Training({', '.join(f'{name}={value!r}' for name, value in training.items())})")
    if hyperparameters:
        parts.append(f"hyperparameters={hyperparameters!r}")
    return ", ".join(parts)


def _print(console: Console, trials: Sequence[TrialResult], best: int) -> None:
    names = list(dict.fromkeys(name for tried in trials for name in tried.parameters))
    headings = (
        "trial",
        "eval loss",
        "epochs",
        "seconds",
        "state",
        *(n.removeprefix("hyperparameters.") for n in names),
    )
    ordered = sorted(trials, key=lambda tried: (tried.eval_loss is None, tried.eval_loss or 0.0))
    rows = [headings, *(_row(tried, names, "best" if tried.number == best else tried.state) for tried in ordered)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        console.print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), markup=False)


def _row(tried: TrialResult, names: Sequence[str], state: str) -> tuple[str, ...]:
    return (
        f"{tried.number}",
        "" if tried.eval_loss is None else f"{tried.eval_loss:.5g}",
        f"{tried.epochs}",
        "" if tried.seconds is None else f"{tried.seconds:.1f}",
        state,
        *(_written(tried.parameters.get(name, "")) for name in names),
    )


def _written(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
