"""Runs from notebooks and scripts: whole pipelines on this machine, as functions that return a `Run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.components.train.request import TrainingRequest
    from headrace.pipelines.local_run import RunPlan
    from headrace.pipelines.run_result import Run

PathLike = str | os.PathLike[str]


def run(
    problem: PathLike,
    data: PathLike,
    root: PathLike,
    *,
    champion: PathLike = "",
    baseline: PathLike = "",
    csv: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Trains once: preprocess, train, evaluate and, if the gate blesses the model, register and deploy it.

    It is what `headrace run static` does: a run that was killed resumes when the same call is made again, and finished
    steps are not repeated.

    Args:
        problem: path of the Problem file.
        data: the rows: a file, a folder or a glob, local, on gs:// or s3://, or bigquery://...
        root: folder, or URI in a bucket, under which everything is stored.
        champion: a Model to compare with, by the gate's champion_tolerance.
        baseline: an earlier statistics.json, or the Examples that hold it; drift is measured against it.
        csv: dialect of CSV files, as NAME=VALUE, such as "delimiter=;".
        training: the options of the training by their names in `headrace train --help`, such as
            {"max_hours": 2, "precision": "float32"}.
        quiet: print no progress.

    Returns:
        The run, with the status succeeded, or refused if the gate rejected the model: a refusal is a result, not an
        exception.

    Raises:
        UserError: a mistake in the Problem file, the data or an argument.
        PlatformError: the machine or the engine failed; the same call may succeed later.
    """
    from headrace.pipelines.local_run import plan_static

    plan = plan_static(
        _path(problem, "problem"),
        _path(data, "data"),
        _path(root, "root"),
        _path(champion, "champion"),
        _path(baseline, "baseline"),
        csv,
        _request(training),
    )
    return _run(plan, quiet=quiet)


def run_tuned(
    problem: PathLike,
    data: PathLike,
    root: PathLike,
    *,
    trials: int = 0,
    parallel: int = 1,
    champion: PathLike = "",
    baseline: PathLike = "",
    csv: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Searches for the best model: as `run`, with the search of the Problem's `tuning` instead of one training.

    Args:
        problem, data, root, champion, baseline, csv, quiet: as for `run`.
        trials: number of trials, at least 1; 0 for the number in the Problem's `tuning`.
        parallel: trials at a time, at least 1, each in a process of its own. With 1 the same seed gives the same
            search.
        training: the options of each trial, as for `run`; the budget in hours and money is the whole search's.

    Returns:
        As for `run`.

    Raises:
        UserError, PlatformError: as for `run`.
    """
    from headrace.pipelines.local_run import plan_tuned

    for name, number, minimum in (("trials", trials, 0), ("parallel", parallel, 1)):
        if number < minimum:
            raise UsageError("the number is too small", where=name, expected=f">= {minimum}", received=repr(number))
    plan = plan_tuned(
        _path(problem, "problem"),
        _path(data, "data"),
        _path(root, "root"),
        _path(champion, "champion"),
        _path(baseline, "baseline"),
        csv,
        _request(training),
        trials,
        parallel,
    )
    return _run(plan, quiet=quiet)


def run_batch_scoring(
    problem: PathLike,
    data: PathLike,
    root: PathLike,
    *,
    version: str = "",
    sink: str = "parquet",
    table: str = "",
    partition_by: str = "",
    batch_rows: int = 0,
    rules: str = "enforce",
    max_divergence: float = 0.0,
    csv: Sequence[str] = (),
    constants: Mapping[str, Any] | None = None,
    batch: str = "rows",
    quiet: bool = False,
) -> Run:
    """Scores many rows with the champion, checks the predictions, and publishes them below ROOT/predictions.

    Args:
        problem: path of the Problem file, whose registry below `root` has the model.
        data, root, csv, quiet: as for `run`.
        version: of the registered model; "" for the champion.
        sink: parquet, csv, jsonl, table (by key, for a server) or bigquery.
        table: for the sink bigquery, bigquery://PROJECT.DATASET.TABLE, which is replaced.
        partition_by: a column whose values become folders.
        batch_rows: rows per call of the model; 0 finds the number by measuring.
        rules: "enforce" quarantines rows that break the Problem's rules, "warn" predicts and counts those whose values
            are out of bounds or unknown.
        constants: a value for each of the model's inputs of shape [].
        batch: "rows" for independent rows; "whole" passes all rows to the model in one call.
        max_divergence: maximum Jensen-Shannon divergence of the predictions from the label in training, 0 to 1; beyond
            it nothing is published. 0 for no maximum.

    Returns:
        The run, with the status succeeded.

    Raises:
        UserError, PlatformError: as for `run`.
    """
    from headrace.pipelines.local_scoring import plan_batch

    plan = plan_batch(
        _path(problem, "problem"),
        _path(data, "data"),
        _path(root, "root"),
        version=version,
        sink=sink,
        table=table,
        partition_by=partition_by,
        batch_rows=batch_rows,
        rules=rules,
        constants=constants,
        batch=batch,
        max_divergence=max_divergence,
        csv=csv,
    )
    return _run(plan, quiet=quiet)


def _run(plan: RunPlan, *, quiet: bool) -> Run:
    from rich.console import Console

    from headrace.pipelines.local_run import publish_report, raise_for, run_plan
    from headrace.pipelines.run_result import Run

    # A notebook shows printed text; rich's output for notebooks needs ipywidgets.
    console = Console(file=sys.stdout, highlight=False, force_jupyter=False, quiet=quiet)
    summary = run_plan(plan, console)
    publish_report(summary)
    if summary["status"] != "refused":
        raise_for(summary)
    return Run(summary)


def _request(training: Mapping[str, Any] | None) -> TrainingRequest:
    from headrace.components.train.request import TrainingRequest

    plain = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in (training or {}).items()}
    return TrainingRequest.from_json(plain)


def _path(value: PathLike, name: str) -> str:
    """The path in an argument as text.

    Raises:
        UsageError: it is something else, such as a Problem instead of its file.
    """
    try:
        return os.fspath(value)
    except TypeError as error:
        is_problem = type(value).__name__ == "Problem"
        raise UsageError(
            f"{name} is not a path",
            expected="the path of the file that declares the Problem" if is_problem else "a path, as text or a Path",
            received=f"a {type(value).__name__}",
            fix="Write the Problem to a file, which every step of a run reads" if is_problem else None,
        ) from error
