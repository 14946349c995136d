"""`headrace train`: trains from a shell, on the hardware of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import click

from headrace.components.train.config import TrainConfig, check_model_output
from headrace.components.train.request import TrainingRequest
from headrace.core.errors import UsageError
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.tensorflow_import import import_tensorflow
from headrace.pipelines.commands import options, train_options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, group
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.run_argument import EXAMPLES
from headrace.pipelines.console import print_lines
from headrace.pipelines.training_lines import training_lines

_instead = group("Instead of training")


@click.command(cls=GroupedCommand)
@options.problem
@click.option(
    "--examples",
    default="",
    type=EXAMPLES,
    metavar="DIR_OR_RUN",
    help="Examples from `headrace preprocess`, or a run.",
)
@click.option("--output", default="", metavar="PATH", help="Output path of the Model, written atomically.")
@train_options.local_options
@_instead(
    "--describe-devices",
    "describe",
    is_flag=True,
    help="Print the devices and settings of a training here, with reasons, and exit.",
)
@_instead(
    "--plan", is_flag=True, help="Measure some steps here, print time and cost for a table of machines, and exit."
)
@json_option
def train(
    problem: str, examples: str, output: str, given: Mapping[str, Any], describe: bool, plan: bool, as_json: bool
) -> None:
    """Train a model on Examples, and export it with its preprocessing inside.

    \b
    Examples:
      headrace train --problem natality.py --examples out/examples --output out/model
      headrace train ... --max-hours 2 --target root_mean_squared_error=1.1
      headrace train ... --warm-start out/earlier-model
      headrace train --problem natality.py --describe-devices
      headrace train --problem natality.py --examples out/examples --plan

    After a kill, the same command resumes from the last checkpoint. SIGTERM saves a checkpoint, and exits with 75.
    """
    if not plan:
        train_options.check_table(given)
    request = train_options.request(given)
    file = load_problem(problem)
    request.check(file.problem)
    if describe:
        _describe(file, request, as_json)
        return
    for name, value, wanted in (("--examples", examples, True), ("--output", output, not plan)):
        if wanted and not value:
            raise UsageError(f"{name} is missing", where="headrace train", expected=f"{name} PATH")
    folder = "" if plan else train_options.checkpoints_folder(given, output)
    if not plan:
        # Before anything that is there is read: what is wrong with it is not what is wrong here.
        check_model_output(
            output, examples=examples, warm_start=request.warm_start, checkpoints=folder, problem=problem
        )
    config = request.config(file, examples=examples, output=output or "nowhere", checkpoints=folder)
    if plan:
        _plan(file, config, given, as_json)
        return
    with showing("train", output) as (console, report):
        report("starting TensorFlow")
        import_tensorflow()
        from headrace.components.train import trainer

        result = trainer.train(file, config, report)
        if as_json:
            print_json({**result.to_json(), "output": output}, console.file)
            return
        print_lines(console, training_lines(result.to_json()))
        print_lines(console, [("Model", f"version {config.identity}: {output}")])


def _describe(file: ProblemFile, request: TrainingRequest, as_json: bool) -> None:
    """Prints the devices and settings of a training."""
    training = request.apply_to(file.problem.training)
    with tempfile.TemporaryDirectory() as folder, showing("describe", f"{folder}/describe") as (console, report):
        report("starting TensorFlow")
        import_tensorflow()
        from headrace.components.train.devices import hardware
        from headrace.pipelines.advisor.describe_machine import description

        lines = description(training, request.options, hardware.describe())
        if as_json:
            print_json({name.lower(): text for name, text in lines}, console.file)
        else:
            print_lines(console, lines)


def _plan(file: ProblemFile, config: TrainConfig, given: Mapping[str, Any], as_json: bool) -> None:
    """Prints estimated time and cost for machines."""
    with tempfile.TemporaryDirectory() as folder, showing("plan", f"{folder}/plan") as (console, report):
        report("starting TensorFlow")
        import_tensorflow()
        from headrace.pipelines.advisor import forecast_text, preview

        table, machine = given["price_table"], given["machine_type"]
        made = preview.plan_training(file, config, report, price_table=table, machine_type=machine)
        if as_json:
            print_json(made.to_json(), console.file)
        else:
            console.print(forecast_text.text(made), markup=False)
