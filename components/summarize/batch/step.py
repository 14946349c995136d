"""Collects the records of a batch scoring run into its summary, and tells whoever wants to know how it ended."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from headrace.components.score.identity import score_identity
from headrace.components.score.options import JOB_LABEL
from headrace.components.summarize.step import begun, verdict
from headrace.core import http, storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.sources.csv_dialect import options_of
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import emit, read_record
from headrace.core.steps.workspace import summary_uri

# What was scored may be an earlier run's; all else is done, or looked at, each time.
_CACHED = frozenset({"prepare", "score"})
_SECONDS = 10.0
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class BatchFacts:
    """What `component.notify` is given; its docstring says what each one is."""

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
    most_divergence: float = 0.0
    webhook: str = ""


def run(facts: BatchFacts, *, engine_succeeded: bool) -> None:
    """Writes the summary of a run however it ended, and tells the webhook, if there is one."""
    since = begun(facts.root, facts.run_id, facts.job, facts.started)
    steps = collect(dataclasses.replace(facts, started=since))
    summary = {
        "format": 1,
        "pipeline": facts.pipeline,
        "run_id": facts.run_id,
        "job": facts.job,
        "since": since,
        **verdict(steps, engine_succeeded=engine_succeeded),
        "started": facts.started,
        "finished": time.time(),
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
    told = message(summary)
    emit("progress", "notify", told["text"], severity="INFO" if summary["status"] == "succeeded" else "ERROR")
    if facts.webhook:
        notify(facts.webhook, told)


def collect(facts: BatchFacts) -> list[dict[str, Any]]:
    """Each step's record in the pipeline's order, followed from one identity to the next.

    A step that did not run has the status `skipped`; one that the engine took from its cache, `cached`.
    """
    steps: list[dict[str, Any]] = []

    def add(name: str, identity: str) -> bool:
        record = read_record(facts.root, name, identity) if identity else None
        if record is not None and record["started"] < facts.started:
            reused = record["status"] == "succeeded" and name in _CACHED
            record = {**record, "status": "cached"} if reused else None
        blank: dict[str, Any] = {
            "step": name,
            "identity": identity,
            "status": "skipped",
            "outputs": {},
            "result": {},
            "error": None,
        }
        steps.append(record or blank)
        return steps[-1]["status"] in ("succeeded", "cached")

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
        )
    prepared = lineage.prepare_identity(scored) if scored else ""
    record = read_record(facts.root, "prepare", prepared) if prepared else None
    job = False
    # Only where the pipeline itself runs a batch prediction job there is such a step before scoring.
    if record is not None and (record["status"] == "succeeded" or record["started"] >= facts.started):
        reached = job = add("prepare", prepared)
    reached = add("score", scored if reached else "") and reached
    if job and steps[-1]["status"] == "skipped":
        steps[-1] |= {"status": "failed", "error": _job_failed(steps[-2]).to_json()}
    reached = add("check", lineage.check_identity(scored, facts.most_divergence) if reached else "") and reached
    add("publish", lineage.publish_identity("publish", scored, facts.destination) if reached else "")
    return steps


def _job_failed(prepared: Mapping[str, Any]) -> PlatformError:
    """What is known of a job after which nobody collected its results: the task that ran it keeps no record."""
    return PlatformError(
        "the batch prediction job did not end well, or its results were not collected",
        where=f"the job with the label {JOB_LABEL}={prepared['result'].get('job', '')}",
        fix="Its page in the console of Google Cloud says why; then start the same command again",
    )


def message(summary: dict[str, Any]) -> dict[str, Any]:
    """What a webhook is told: a text to read, which is what chat services show, and the facts behind it."""
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


def check_webhook(url: str) -> None:
    """Refuses an address that nothing can be posted to.

    Raises:
        UsageError: it is none, or holds a user and password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not url.isprintable():
        raise UsageError("that is no address to notify", where="--notify", expected="https://HOST/...")


def notify(url: str, told: dict[str, Any]) -> None:
    """Posts JSON to a webhook. That nobody could be told fails no run: it is in the log, as a warning."""
    try:
        check_webhook(url)
        with http.pool(proxies=True) as connections:
            headers = {"Content-Type": "application/json"}
            body = json.dumps(told).encode()
            response = http.send(
                connections, "POST", url, body=body, headers=headers, timeout_s=_SECONDS, max_bytes=_MAX_BYTES
            )
        failed = "" if 200 <= response.status < 300 else f"status {response.status}"
    except (UsageError, http.RequestFailed, http.ResponseTooLarge, ValueError) as error:
        failed = type(error).__name__
    if failed:
        # Neither the path nor what the client says of it: a webhook's address is its secret.
        host = urlsplit(url).hostname
        emit("progress", "notify", f"{host} could not be told: {failed}", severity="WARNING")
