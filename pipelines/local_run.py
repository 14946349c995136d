"""Local runs: a plan that is checked before any work, the compiled pipeline, and its outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.components.train.request import TrainingRequest, warm_start_version
from headrace.core import storage
from headrace.core.artifacts.model import version_of
from headrace.core.errors import NothingToDo, PlatformError, UsageError
from headrace.core.problem import copies, places
from headrace.core.problem.file import load_problem
from headrace.core.rules.mode import Mode
from headrace.core.signals import Terminated
from headrace.core.steps import workspace
from headrace.core.steps.identity import model_version_of, release
from headrace.core.steps.step import identity
from headrace.core.storage.lock import locked
from headrace.pipelines.platforms.task_processes import TaskProcesses
from headrace.pipelines.runs.local_root import absolute, check_root, check_writable, publish_run, work_of
from headrace.pipelines.runs.start_record import recording, secrets
from headrace.pipelines.submission.outcome import raise_for_summary

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.components.deploy.canary.settings import CanarySettings

_STEPS = {
    "static": ("preprocess", "train", "evaluate", "register", "deploy"),
    "tuned": ("preprocess", "tune", "evaluate", "register", "deploy"),
    "dynamic": ("claim", "ingest", "lineage", "train", "evaluate", "register", "deploy", "announce"),
    "batch-scoring": ("champion", "score", "check", "publish"),
}


@dataclass(frozen=True)
class RunPlan:
    """A run that was checked and may start.

    Attributes:
        pipeline: one of `compiler.PIPELINES`.
        problem_name: the problem's name.
        run_id: derived from the pipeline, its parameters and the data's version: an equal command is the same run.
        root: absolute path or URI of the pipeline root.
        arguments: the pipeline's parameters, without `started`.
        rules: the mode in which the endpoint applies the Model's rules.
        canary: settings of the canary that a blessed model is on an endpoint with a live version; None for none.
    """

    pipeline: str
    problem_name: str
    run_id: str
    root: str
    arguments: dict[str, Any]
    rules: Mode = "enforce"
    canary: CanarySettings | None = None

    @property
    def work(self) -> str:
        """The local folder of the engine: the root, or a working folder of one in a bucket."""
        return work_of(self.root)

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the pipeline's steps, in order."""
        return _STEPS[self.pipeline]


def plan_static(
    problem: str,
    data: str,
    root: str,
    champion: str = "",
    baseline: str = "",
    csv: Sequence[str] = (),
    training: TrainingRequest | None = None,
    rules: Mode = "enforce",
    canary: CanarySettings | None = None,
) -> RunPlan:
    """Checks all that can be checked before any work.

    With `rules`, the mode of the Model's rules at the endpoint, and `canary`, the settings of its canary.

    Raises:
        UserError: the Problem file, the data or an option is not valid.
    """
    from headrace.components.preprocess.check import check_data
    from headrace.components.preprocess.limits import baseline_version as measure_baseline
    from headrace.core.rows.prepare import Prepare
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version as measure_version
    from headrace.core.sources.open import list_paths

    if not (problem and root and data):
        raise UsageError("the path is empty", where="--problem, --data or --root", expected="a file or a folder")
    problem, root, data, baseline, champion = map(absolute, (problem, root, data, baseline, champion))
    file = load_problem(problem)
    read = {"--data": data, "--problem": problem, "--baseline": baseline, "--champion": champion}
    check_root(root, file.problem.name, inputs=read)
    dialect = CsvDialect.parse(csv)
    try:
        files = check_data(file.problem, data, dialect, Prepare.of(file))
    except NothingToDo:
        # The run says so itself, in its summary.
        files = list_paths(data)
    baseline_version = measure_baseline(baseline)
    if champion:
        version_of(champion, option="--champion")
    request = training or TrainingRequest()
    if request.warm_start:
        start = absolute(request.warm_start)
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
        **({"rules": rules} if rules != "enforce" else {}),
        **({"canary": canary.to_json()} if canary is not None else {}),
    )
    run_id = f"{file.problem.name}-{run_id[:12]}"
    check_writable(root)
    if not file.is_together:
        # The steps run in separate processes, which find modules next to the Problem file only.
        copies.write(copies.contents(file, root))
    return RunPlan(
        pipeline="static",
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
            "endpoint": workspace.endpoint_uri(work_of(root), file.problem.name),
            "run_id": run_id,
            "champion": champion,
            "training": request.to_json(),
            "baseline": baseline,
            "baseline_version": baseline_version,
            "csv": json.dumps(list(csv)) if csv else "",
        },
        rules=rules,
        canary=canary,
    )


def plan_tuned(
    problem: str,
    data: str,
    root: str,
    champion: str = "",
    baseline: str = "",
    csv: Sequence[str] = (),
    training: TrainingRequest | None = None,
    trials: int = 0,
    parallel: int = 1,
    rules: Mode = "enforce",
) -> RunPlan:
    """Checks all that can be checked before any work; `trials` of 0 uses the Problem's number.

    Raises:
        UserError: the Problem file, the data or an option is not valid.
    """
    from headrace.components.tune.trial import tuning_of

    plan = plan_static(problem, data, root, champion, baseline, csv, training, rules)
    file = load_problem(problem)
    tuning_of(file, training)
    run_id = f"{plan.problem_name}-{identity('tuned-training', training=plan.run_id, trials=trials)[:12]}"
    kept = {name: value for name, value in plan.arguments.items() if name != "training_digest"}
    arguments = {**kept, "tuning_digest": file.tuning_digest, "run_id": run_id, "trials": trials, "parallel": parallel}
    return dataclasses.replace(plan, pipeline="tuned", run_id=run_id, arguments=arguments)


def run_plan(plan: RunPlan, console: Console, processes: TaskProcesses | None = None) -> dict[str, Any]:
    """Compiles and runs a pipeline on this machine, and shows each of its steps.

    Args:
        plan: of the run.
        console: where the steps are shown.
        processes: of the steps, where the caller has started them already.

    Returns:
        The run's summary, as its exit task wrote it.

    Raises:
        PlatformError: the engine failed, or the exit task wrote no summary.
    """
    from headrace.pipelines.compiler import compile_once
    from headrace.pipelines.console import display
    from headrace.pipelines.platforms import local

    folder = workspace.run_uri(plan.work, plan.run_id)
    with contextlib.ExitStack() as open_until_end:
        open_until_end.enter_context(locked(folder, timeout_s=0))
        processes = processes or open_until_end.enter_context(TaskProcesses())
        spec = storage.join(folder, "pipeline.yaml")
        compile_once(
            plan.pipeline,
            spec,
            cache=storage.join(plan.work, "pipeline", "specs"),
            rules=plan.rules,
            canary=plan.canary,
        )
        started = time.time()
        logs = storage.join(folder, "logs")
        with display(console, plan.steps) as shown:
            listener = recording(
                workspace.run_uri(plan.root, plan.run_id),
                pipeline=plan.pipeline,
                problem=plan.problem_name,
                run_id=plan.run_id,
                started=started,
                arguments=plan.arguments,
                listener=shown,
            )
            terminated = local.run(
                spec,
                {**plan.arguments, "started": started},
                root=plan.work,
                logs=logs,
                listener=listener,
                hidden=secrets(plan.arguments),
                processes=processes,
            )
        publish_run(plan.root, plan.run_id)
        written = workspace.summary_uri(plan.root, plan.run_id)
        summary: dict[str, Any] | None = storage.read_json(written) if storage.exists(written) else None
        if summary is None or summary["started"] != started:
            raise PlatformError(
                "the run ended without a summary",
                where=logs,
                fix="Read the last lines of the logs there, then run the same command again",
            )
        return with_signal(summary) if terminated else summary


def with_signal(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary of a run that received SIGTERM: a step that it ended before its record could be written has none."""
    if summary["status"] != "failed" or any(step["status"] == "failed" for step in summary["steps"]):
        return summary
    return {**summary, "error": Terminated.by(signal.SIGTERM).to_json()}


def publish_report(summary: dict[str, Any]) -> str:
    """Writes the report page of a run, and returns its path."""
    from headrace.pipelines.report.page import write_report

    page = report_path(summary)
    write_report(summary, page)
    return page


def report_path(summary: Mapping[str, Any]) -> str:
    """Path of a run's report page."""
    return storage.join(workspace.run_uri(summary["root"], summary["run_id"]), "report.html")


def raise_for(summary: Mapping[str, Any]) -> None:
    """Raises the error of a run, unless it succeeded.

    Raises:
        GateRefused: the gate refused the model.
        HeadraceError: a step failed.
    """
    logs = storage.join(workspace.run_uri(summary["root"], summary["run_id"]), "logs")
    raise_for_summary(summary, fix=f"Read the steps' logs in {logs}")
