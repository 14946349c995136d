"""Summary of a batch scoring run, collected from step records, and its notification to a webhook."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.score.identity import constants_of, score_identity
from headrace.components.score.options import JOB_LABEL
from headrace.components.summarize.records import is_done, step_of
from headrace.components.summarize.step import begun, ended, verdict
from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.sources.csv_dialect import options_of
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import emit, is_of_run, read_record
from headrace.core.steps.workspace import summary_uri
from headrace.core.webhook import check_webhook, post

# The scoring may be an earlier run's; all other steps run each time.
_CACHED = frozenset({"prepare", "score"})


@dataclass(frozen=True)
class BatchFacts:
    """Inputs of `component.notify`, which documents each one."""

    pipeline: str
    run_id: str
    job: str
    started: float
    problem: str
    data: str
    data_version: str
    root: str
    registry: str
    destination: str
    version: str = ""
    sink: str = "parquet"
    table: str = ""
    partition_by: str = ""
    approach: str = "auto"
    csv: str = ""
    rules: str = "enforce"
    constants: str = ""
    batch: str = "rows"
    max_divergence: float = 0.0
    webhook: str = ""
    execution: str = ""


def run(facts: BatchFacts, *, engine_succeeded: bool) -> None:
    """Writes the summary of a run, whatever its outcome, and notifies the webhook, if there is one."""
    since = begun(facts.root, facts.run_id, facts.job, facts.started)
    steps = collect(dataclasses.replace(facts, started=since))
    summary = {
        "format": 1,
        "pipeline": facts.pipeline,
        "run_id": facts.run_id,
        "job": facts.job,
        "execution": facts.execution,
        "since": since,
        **verdict(steps, engine_succeeded=engine_succeeded),
        "started": facts.started,
        "finished": ended(facts.started, steps),
        "release": lineage.release(),
        "problem": facts.problem,
        "data": facts.data,
        "data_version": facts.data_version or steps[0]["result"].get("data_version", ""),
        **({"csv": options_of(facts.csv)} if facts.csv else {}),
        "root": facts.root,
        "destination": facts.destination,
        "steps": steps,
    }
    storage.write_json(summary_uri(facts.root, facts.run_id), summary)
    payload = message(summary)
    emit("progress", "notify", payload["text"], severity="INFO" if summary["status"] == "succeeded" else "ERROR")
    if facts.webhook:
        notify(facts.webhook, payload)


def collect(facts: BatchFacts) -> list[dict[str, Any]]:
    """Each step's record in the pipeline's order, followed from one identity to the next.

    A step that did not run has the status `skipped`; one that was a cache hit has `cached`.
    """
    steps: list[dict[str, Any]] = []

    def add(name: str, identity: str) -> bool:
        steps.append(step_of(facts.root, name, identity, facts.started, reusable=name in _CACHED, job=facts.job))
        return is_done(steps[-1])

    reached = add("champion", lineage.champion_identity(facts.registry, facts.version))
    scored = ""
    if reached:
        scored = score_identity(
            steps[-1]["result"]["version"],
            facts.data_version or steps[-1]["result"].get("data_version", ""),
            sink=facts.sink,
            table=facts.table,
            partition_by=facts.partition_by,
            approach=facts.approach,
            csv=options_of(facts.csv),
            rules=facts.rules,
            constants=constants_of(facts.constants),
            batch=facts.batch,
        )
    prepared = lineage.prepare_identity(scored) if scored else ""
    record = read_record(facts.root, "prepare", prepared) if prepared else None
    job = False
    # Only pipelines that run a batch prediction job themselves have this step before scoring.
    if record is not None and (record["status"] == "succeeded" or is_of_run(record, facts.started, facts.job)):
        reached = job = add("prepare", prepared)
    reached = add("score", scored if reached else "") and reached
    if job and steps[-1]["status"] == "skipped":
        steps[-1] |= {"status": "failed", "error": _job_failed(steps[-2]).to_json()}
    reached = add("check", lineage.check_identity(scored, facts.max_divergence) if reached else "") and reached
    add("publish", lineage.publish_identity("publish", scored, facts.destination) if reached else "")
    return steps


def _job_failed(prepared: Mapping[str, Any]) -> PlatformError:
    """The error for a job whose results were not collected: the task that ran it writes no record."""
    return PlatformError(
        "the batch prediction job failed, or its results were not collected",
        where=f"the job with the label {JOB_LABEL}={prepared['result'].get('job', '')}",
        fix="Read the cause on its page in the Google Cloud console, then run the same command again",
    )


def message(summary: dict[str, Any]) -> dict[str, Any]:
    """The JSON for a webhook: a text, which chat services show, and the facts behind it."""
    results = {step["step"]: step["result"] for step in summary["steps"]}
    scored = results["score"]
    text = f"{summary['pipeline']} of {summary['problem']} {summary['status']}"
    if summary["error"] is not None:
        text += f": {summary['error']['what']}"
    elif scored:
        text += f": {scored['rows_out']:,} predictions, {scored['rows_quarantined']:,} rows in quarantine"
    return {
        "text": text,
        "run_id": summary["run_id"],
        "status": summary["status"],
        "data": summary["data"],
        "model_version": scored.get("model_version"),
        **{name: scored.get(name) for name in ("rows_in", "rows_out", "rows_quarantined")},
        "published": results["publish"].get("published"),
        "error": None if summary["error"] is None else summary["error"]["what"],
    }


def notify(url: str, payload: dict[str, Any]) -> None:
    """Posts JSON to a webhook, for 10 s at most. A failure does not fail the run: it is logged as a warning."""
    try:
        check_webhook(url)
        post(url, json.dumps(payload).encode())
        return
    except UsageError:
        failed = "the webhook could not be notified: UsageError"
    except PlatformError as error:
        failed = f"{error.what}: {error.received}"
    emit("progress", "notify", failed, severity="WARNING")
