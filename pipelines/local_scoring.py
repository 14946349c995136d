"""Local batch scoring: the plan of a run, checked before any work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.components.registry.folder.registry import Registry
from headrace.core.errors import UsageError
from headrace.core.problem.file import load_problem
from headrace.core.steps import workspace
from headrace.core.steps.identity import release
from headrace.core.steps.step import identity
from headrace.pipelines.local_run import RunPlan
from headrace.pipelines.runs.local_root import absolute, check_root, check_writable

# A run's identity does not depend on its speed, or on its notifications.
_NO_PART = frozenset({"batch_rows", "runner", "webhook"})


def plan_batch(
    problem: str,
    data: str,
    root: str,
    *,
    version: str = "",
    sink: str = "parquet",
    table: str = "",
    partition_by: str = "",
    approach: str = "auto",
    batch_rows: int = 0,
    max_divergence: float = 0.0,
    csv: Sequence[str] = (),
    constants: Mapping[str, Any] | None = None,
    batch: str = "rows",
    endpoint: str = "",
    job: str = "",
    runner: str = "",
    rules: str = "enforce",
    webhook: str = "",
) -> RunPlan:
    """Checks a run before any work: the Problem file, the rows, the registry, and every option.

    Args:
        problem: the Problem file; it names the registry.
        data: the rows.
        root: pipeline root, which holds the registry.
        version: of the registered model; "" for the champion.
        sink, table, partition_by, approach, batch, batch_rows, endpoint, job, runner, rules: as of the component
            `score`.
        max_divergence: maximum Jensen-Shannon divergence of the predictions from the label in training, 0 to 1; beyond
            it nothing is published. 0 for any.
        csv: dialect of CSV, as NAME=VALUE.
        constants: a value for each of the model's inputs of shape [].
        webhook: URL that JSON is posted to when the run ends, or "".

    Raises:
        UserError: the Problem file, the data or an option is not valid.
    """
    from headrace.components.score.parameters import Parameters
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version, list_paths
    from headrace.core.webhook import check_webhook

    if not (problem and root and data):
        raise UsageError("the path is empty", where="--problem, --data or --root", expected="a file or a folder")
    problem, root, data = map(absolute, (problem, root, data))
    if webhook:
        check_webhook(webhook)
    name = load_problem(problem).problem.name
    check_root(root, name, inputs={"--data": data, "--problem": problem})
    registry = workspace.registry_uri(root, name)
    model = Registry(registry).champion(version).uri
    fingerprint = data_version(list_paths(data), CsvDialect.parse(csv))
    arguments: dict[str, Any] = {
        "data": data,
        "data_version": fingerprint,
        "root": root,
        "csv": json.dumps(list(csv)) if csv else "",
        "constants": json.dumps(dict(constants)) if constants else "",
        "batch": batch,
        "endpoint": endpoint,
        "job": job,
        "runner": runner,
        "sink": sink,
        "table": table,
        "partition_by": partition_by,
        "approach": approach,
        "batch_rows": batch_rows,
        "rules": rules,
    }
    # Refuses options that the step would refuse, before it starts.
    Parameters(model=model, **arguments).config(output=root)
    arguments |= {
        "problem": name,
        "registry": registry,
        "destination": workspace.predictions_uri(root, name),
        "version": version,
        "max_divergence": max_divergence,
        "webhook": webhook,
    }
    depends = {key: value for key, value in arguments.items() if key not in _NO_PART}
    run_id = f"{name}-scoring-{identity('batch-scoring', release=release(), **depends)[:12]}"
    # An external table may have changed since: it is written again, though nothing else changed.
    cache = sink != "bigquery"
    check_writable(root)
    return RunPlan("batch-scoring", name, run_id, root, {**arguments, "run_id": run_id, "cache": cache})
