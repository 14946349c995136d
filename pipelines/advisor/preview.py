"""Preview of a training for `headrace train --plan`: time and cost, measured without a full training."""

from __future__ import annotations

from headrace.components.train.config import TrainConfig
from headrace.components.train.input.examples import open_examples
from headrace.components.train.loop.run_state import Course
from headrace.components.train.preparation import prepare
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress
from headrace.pipelines.advisor import forecast, prices


def plan_training(
    problem_file: ProblemFile,
    config: TrainConfig,
    report: Progress,
    *,
    price_table: str = "",
    machine_type: str = "",
) -> forecast.TrainingPlan:
    """Measures some hundred steps here, and estimates the training here and on other machines.

    Args:
        problem_file: the Problem file.
        config: of the training; nothing is written.
        report: receives progress.
        price_table: a JSON file; "" for the included table.
        machine_type: of this machine, if it is in the table.

    Raises:
        UsageError, DataError, ProblemError: as `trainer.train` does.
    """
    table = prices.load(price_table)
    training = config.apply_to(problem_file.problem.training)
    examples = open_examples(config.examples, problem_file.problem)
    prepared = prepare(problem_file, config, training, examples, report)
    rows = prepared.batch.rows
    measured = forecast.measure(prepared.trainee, prepared.source.batches, rows, report=report)
    course = Course.of(training, examples.train.rows, rows)
    price = config.options.budget.price_per_hour
    return forecast.plan(course, measured, prepared.machine, table, machine_type=machine_type, price_per_hour=price)
