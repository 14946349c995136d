"""The plan of `headrace run batch-scoring`: all that can be checked before any work is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.steps import workspace
from headrace.core.steps.identity import release
from headrace.core.steps.step import identity
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands import score_options
from headrace.pipelines.commands.run import Plan, check_root, check_writable, run_plan

STEPS = ("champion", "score", "check", "publish")
# Whether a run is the same does not depend on how fast it is, or on who is told of it.
_NO_PART = frozenset({"batch_rows", "runner", "webhook"})


def plan_batch(
    problem: str,
    data: str,
    root: str,
    *,
    elsewhere: Mapping[str, Any],
    runner: Mapping[str, Any],
    csv: Sequence[str] = (),
    webhook: str = "",
    **settings: Any,
) -> Plan:
    """Checks a run before any work: the Problem file, the rows, the registry, and every option.

    Args:
        problem: the Problem file; it names the registry.
        data: the rows.
        root: where the registry is, and everything is kept.
        elsewhere: options of endpoints and jobs.
        runner: options of the Beam runner.
        csv: how CSV is written.
        webhook: who is told of the end, or "".
        settings: version, sink, table, partition_by, approach, batch_rows and most_divergence.

    Raises:
        UserError: with what is wrong, where, and what was expected.
    """
    from headrace.components.score.parameters import Parameters
    from headrace.components.summarize.batch import check_webhook
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version, list_paths

    problem, root = (os.path.abspath(storage.local_path(uri)) for uri in (problem, root))  # noqa: PTH100
    if not data.startswith(("gs://", "bigquery://")):
        data = os.path.abspath(storage.local_path(data))  # noqa: PTH100
    if webhook:
        check_webhook(webhook)
    name = load_problem(problem).problem.name
    check_root(root, name, inputs={"--data": data, "--problem": problem})
    registry = workspace.registry_uri(root, name)
    version, limit = settings.pop("version"), settings.pop("most_divergence")
    model = Registry(registry).champion(version).uri
    fingerprint = data_version(list_paths(data), CsvDialect.parse(csv))
    arguments: dict[str, Any] = {
        "data": data,
        "data_version": fingerprint,
        "root": root,
        "csv": json.dumps(list(csv)) if csv else "",
        "endpoint": score_options.as_json(score_options.endpoint_of(elsewhere)),
        "job": score_options.as_json(score_options.job_of(elsewhere)),
        "runner": runner_command.as_json(runner),
        **settings,
    }
    # Refuses what the step would refuse, before it starts.
    Parameters(model=model, **arguments).config(output=root)
    arguments |= {
        "problem": name,
        "registry": registry,
        "destination": workspace.predictions_uri(root, name),
        "version": version,
        "most_divergence": limit,
        "webhook": webhook,
    }
    depends = {key: value for key, value in arguments.items() if key not in _NO_PART}
    run_id = f"{name}-scoring-{identity('batch-scoring', release=release(), **depends)[:12]}"
    # A table elsewhere may have been changed by others since: it is written again, though nothing else changed.
    cache = settings["sink"] != "bigquery"
    check_writable(root)
    return Plan(name, run_id, root, {**arguments, "run_id": run_id, "cache": cache})


def run_batch(plan: Plan, console: Console) -> dict[str, Any]:
    """Compiles and runs the pipeline, and shows each step; returns the run's summary.

    Raises:
        PlatformError: the engine failed, or the exit task wrote no summary.
    """
    return run_plan("batch-scoring", STEPS, plan, console)
