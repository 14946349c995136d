"""`headrace run`: a whole pipeline, compiled and run on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from headrace.components.train.request import Request, warm_start_version
from headrace.core import storage
from headrace.core.artifacts.kinds import ENDPOINT, PUBLISHED, REGISTRY, ROOT
from headrace.core.artifacts.model import version_of
from headrace.core.errors import PlatformError, UsageError
from headrace.core.problem import copies, places
from headrace.core.problem.file import load_problem
from headrace.core.steps import workspace
from headrace.core.steps.identity import model_version_of, release
from headrace.core.steps.step import identity
from headrace.core.storage.lock import locked
from headrace.core.storage.output_check import check_output
from headrace.pipelines.commands import options, score_options, train_options
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands.option_groups import GroupedCommand
from headrace.pipelines.commands.run_tuned import tuned
from headrace.pipelines.runs.start_record import recording
from headrace.pipelines.submission.outcome import raise_for_summary


@click.group()
def run() -> None:
    """Run a whole pipeline here and now.

    The pipeline is compiled to a KFP spec, and the spec is run on this machine. A run that was killed resumes when
    the same command is given again.
    """


@run.command(cls=GroupedCommand)
@options.problem
@options.data
@options.root
@options.champion
@options.baseline
@options.csv
@train_options.options
def static(
    problem: str, data: str, root: str, champion: str, baseline: str, csv: tuple[str, ...], training: Request
) -> None:
    """Train once: preprocess, train, evaluate, and, if the gate blesses the model, register and deploy it.

    \b
    Examples:
      headrace run static --problem examples/natality/natality.py --data examples/natality/births.csv --root out
      headrace run static ... --max-cost 20 --machine-type g2-standard-12 --target root_mean_squared_error=1.1
    """
    plan = plan_static(problem, data, root, champion, baseline, csv, training)
    # The engine's output is sorted away from stdout while it runs; the console keeps the stdout of now.
    console = Console(file=sys.stdout, highlight=False)
    console.print(f"{plan.problem_name}: static training on {data}, run {plan.run_id}", soft_wrap=True)
    finish(run_static(plan, console), console)


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
@score_options.batch_rows
@click.option(
    "--most-divergence",
    default=0.0,
    metavar="D",
    help="Maximum divergence of the predictions from the label in training, 0 to 1 (default: 0, any).",
)
@click.option("--notify", "webhook", default="", metavar="URL", help="URL that JSON is posted to when the run ends.")
@score_options.elsewhere
@runner_command.optional_runner
def batch_scoring(problem: str, data: str, root: str, **given: Any) -> None:
    """Score many rows: the champion's predictions, checked and published under ROOT/predictions.

    \b
    Example:
      headrace run batch-scoring --problem natality.py --data births.parquet --root out --sink table
    """
    from headrace.pipelines.commands.batch import plan_batch, run_batch

    plan = plan_batch(problem, data, root, **given)
    console = Console(file=sys.stdout, highlight=False)
    console.print(f"{plan.problem_name}: batch scoring of {data}, run {plan.run_id}", soft_wrap=True)
    finish(run_batch(plan, console), console)


run.add_command(tuned)


@dataclass(frozen=True)
class Plan:
    """A run that was checked and may start.

    Attributes:
        problem_name: the problem's name.
        run_id: follows from the pipeline, its parameters and the data's version: the same command is the same run.
        root: absolute path under which everything is kept.
        arguments: the pipeline's parameters, but for `started`.
    """

    problem_name: str
    run_id: str
    root: str
    arguments: dict[str, Any]


def plan_static(
    problem: str,
    data: str,
    root: str,
    champion: str,
    baseline: str = "",
    csv: Sequence[str] = (),
    training: Request | None = None,
) -> Plan:
    """Checks all that can be checked before any work.

    Raises:
        UserError: with what is wrong, where, and what was expected.
    """
    from headrace.components.preprocess.check import check_data
    from headrace.components.preprocess.limits import baseline_version as measure_baseline
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version as measure_version

    problem, root = (os.path.abspath(storage.local_path(uri)) for uri in (problem, root))  # noqa: PTH100
    if not data.startswith(("gs://", "bigquery://")):
        data = os.path.abspath(storage.local_path(data))  # noqa: PTH100
    if baseline and not storage.is_remote(baseline):
        baseline = os.path.abspath(storage.local_path(baseline))  # noqa: PTH100
    file = load_problem(problem)
    read = {"--data": data, "--problem": problem, "--baseline": baseline, "--champion": champion}
    check_root(root, file.problem.name, inputs=read)
    dialect = CsvDialect.parse(csv)
    files = check_data(file.problem, data, dialect)
    baseline_version = measure_baseline(baseline)
    if champion:
        champion = os.path.abspath(storage.local_path(champion))  # noqa: PTH100
        version_of(champion, option="--champion")
    request = training or Request()
    if request.warm_start:
        start = os.path.abspath(storage.local_path(request.warm_start))  # noqa: PTH100
        request = dataclasses.replace(request, warm_start=start, warm_start_version=warm_start_version(start))
    request.check(file.problem)
    data_version = measure_version(files, dialect)
    run_id = identity(
        "static-training",
        problem=file.digest,
        data=data_version,
        champion=model_version_of(champion) if champion else None,
        baseline=baseline_version,
        csv=list(csv),
        release=release(),
        **({"training": chosen} if (chosen := request.facts()) else {}),
    )
    run_id = f"{file.problem.name}-{run_id[:12]}"
    check_writable(root)
    if not file.is_together:
        # The steps run in processes of their own, which look for modules beside the Problem file alone.
        copies.write(copies.contents(file, root))
    return Plan(
        problem_name=file.problem.name,
        run_id=run_id,
        root=root,
        arguments={
            "problem": problem if file.is_together else places.template(root),
            **{name: digest for name, digest in file.digests.items() if name != "tuning_digest"},
            "data": data,
            "data_version": data_version,
            "root": root,
            "registry": workspace.registry_uri(root, file.problem.name),
            "endpoint": workspace.endpoint_uri(root, file.problem.name),
            "run_id": run_id,
            "champion": champion,
            "training": request.to_json(),
            "baseline": baseline,
            "baseline_version": baseline_version,
            "csv": json.dumps(list(csv)) if csv else "",
        },
    )


def run_static(plan: Plan, console: Console) -> dict[str, Any]:
    """Compiles and runs the pipeline, and shows each step.

    Returns:
        The run's summary, as its exit task wrote it.

    Raises:
        PlatformError: the engine failed, or the exit task wrote no summary.
    """
    return run_plan("static", ("preprocess", "train", "evaluate", "register", "deploy"), plan, console)


def run_plan(pipeline: str, steps: tuple[str, ...], plan: Plan, console: Console) -> dict[str, Any]:
    """Compiles and runs a pipeline on this machine, and shows each of its steps.

    Args:
        pipeline: as `compile_to` names it.
        steps: in their order.
        plan: of the run.
        console: where the steps are shown.

    Returns:
        The run's summary, as its exit task wrote it.

    Raises:
        PlatformError: the engine failed, or the exit task wrote no summary.
    """
    from headrace.pipelines.commands.compile import compile_to
    from headrace.pipelines.console import display
    from headrace.pipelines.platforms import local

    folder = workspace.run_uri(plan.root, plan.run_id)
    with locked(folder, timeout_s=0):
        spec = storage.join(folder, "pipeline.yaml")
        compile_to(pipeline, "local", spec)
        started = time.time()
        logs = storage.join(folder, "logs")
        with display(console, steps) as shown:
            listener = recording(
                folder,
                pipeline=pipeline,
                problem=plan.problem_name,
                run_id=plan.run_id,
                started=started,
                arguments=plan.arguments,
                listener=shown,
            )
            local.run(spec, {**plan.arguments, "started": started}, root=plan.root, logs=logs, listener=listener)
        written = workspace.summary_uri(plan.root, plan.run_id)
        summary: dict[str, Any] | None = storage.read_json(written) if storage.exists(written) else None
        if summary is None or summary["started"] != started:
            raise PlatformError(
                "the run ended without a summary",
                where=logs,
                fix="Look at the last lines of the logs there, then start the same command again",
            )
        return summary


def finish(summary: dict[str, Any], console: Console) -> None:
    """Writes the report, prints the summary, and raises what the run came to.

    Raises:
        GateRefused: the gate refused the model.
        HeadraceError: what a step failed with.
    """
    from headrace.pipelines.console import print_scoring, print_summary
    from headrace.pipelines.report.page import write_report

    folder = workspace.run_uri(summary["root"], summary["run_id"])
    page = storage.join(folder, "report.html")
    write_report(summary, page)
    show = print_scoring if "publish" in {step["step"] for step in summary["steps"]} else print_summary
    show(console, summary, page)
    raise_for_summary(summary, fix=_logs_of(summary))


def _logs_of(summary: dict[str, Any]) -> str:
    logs = storage.join(workspace.run_uri(summary["root"], summary["run_id"]), "logs")
    return f"The steps' logs are in {logs}"


def check_root(root: str, problem_name: str, *, inputs: Mapping[str, str]) -> None:
    """Refuses a root that is something else, or where something else has a place that a run writes to.

    Args:
        root: local; what else is there stays.
        problem_name: the problem's, by which registries and endpoints are called.
        inputs: what the run reads, by what the user calls it.

    Raises:
        UsageError: it is an artifact or an input, or a place below it is taken.
    """
    check_output(root, ROOT, option="--root", inputs=inputs)
    for place, kind in (
        (workspace.registry_uri, REGISTRY),
        (workspace.endpoint_uri, ENDPOINT),
        (workspace.predictions_uri, PUBLISHED),
    ):
        check_output(place(root, problem_name), kind, option="--root")


def check_writable(root: str) -> None:
    """Refuses a root that no file can be made in.

    Raises:
        UsageError: it cannot be written.
        PlatformError: the disk failed.
    """
    try:
        with storage.writing(root):
            Path(root).mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=root, prefix=".writable."):
                pass
    except PlatformError as error:
        # A place like /proc says that there is no such file: before any work, that too is about the place.
        if isinstance(error.__cause__, FileNotFoundError):
            raise UsageError(error.what, where=root, received=error.received) from error
        raise
