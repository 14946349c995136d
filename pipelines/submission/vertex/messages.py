"""Message conversion: the service's runs, tasks and schedules to the model of all platforms."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from headrace.pipelines.submission.run import PlatformRun, RunTask, Schedule

# The service's sentence about a container, which may be followed by the last lines of its log.
_EXIT_STATUS = re.compile(r"exited with a non-zero (?:exit )?status(?: of| code)?:? (\d+)")
_PROJECT_OF_JOB = re.compile(r".*/(?:customJobs|hyperparameterTuningJobs|batchPredictionJobs|jobs)/([\w-]+)\Z")

_RUN_STATES = {
    "QUEUED": "waiting",
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "PAUSED": "paused",
}
_TASK_STATES = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "CANCEL_PENDING": "running",
    "CANCELLING": "running",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    # The service marks a cached task as skipped; a task whose condition is not met is not triggered.
    "SKIPPED": "cached",
    "NOT_TRIGGERED": "skipped",
}


def run_of(job: Any, project: str, location: str) -> PlatformRun:
    """Converts a PipelineJob to a run."""
    content = json.loads(type(job).to_json(job, use_integers_for_enums=False))
    run_id = job.name.rpartition("/")[2]
    tasks = {one.task_name: _task(one) for one in sorted(job.job_detail.task_details, key=_started)}
    return PlatformRun(
        run_id=run_id,
        state=_RUN_STATES.get(job.state.name.removeprefix("PIPELINE_STATE_"), "waiting"),
        reference=job.name,
        page=f"https://console.cloud.google.com/vertex-ai/locations/{location}/pipelines/runs/{run_id}"
        f"?project={project}",
        created=_seconds(job.create_time),
        finished=_seconds(job.end_time),
        message=job.error.message,
        parameters=content.get("runtimeConfig", {}).get("parameterValues", {}),
        spec=content.get("pipelineSpec") or {},
        tasks=tasks,
    )


def _started(task: Any) -> float:
    return _seconds(task.start_time) or 0.0


def _task(detail: Any) -> RunTask:
    # As JSON: the client's own containers of a Struct can neither be copied nor be written.
    metadata = json.loads(type(detail.execution).to_json(detail.execution)).get("metadata") or {}
    outputs = {name.removeprefix("output:"): value for name, value in metadata.items() if name.startswith("output:")}
    container = detail.executor_detail.container_detail
    jobs = [container.main_job] if container.main_job else []
    jobs += [one["resourceUri"] for one in resources(outputs.get("gcp_resources"))]
    return RunTask(
        name=detail.task_name,
        state=_TASK_STATES.get(detail.state.name, "waiting"),
        started=_seconds(detail.start_time),
        finished=_seconds(detail.end_time),
        message=detail.error.message,
        exit_status=_exit_status(detail.error.message),
        outputs=outputs,
        jobs=tuple(found[1] for job in jobs if (found := _PROJECT_OF_JOB.match(job))),
    )


def resources(text: Any) -> list[Mapping[str, str]]:
    """The jobs that a task started, from the gcp_resources of google-cloud-pipeline-components."""
    try:
        found = json.loads(text).get("resources", []) if isinstance(text, str) and text else []
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict) and "resourceUri" in one]


def _exit_status(message: str) -> int | None:
    found = _EXIT_STATUS.search(message)
    return int(found[1]) if found else None


def _seconds(moment: Any) -> float | None:
    return moment.timestamp() if moment else None


def schedule_of(schedule: Any) -> Schedule:
    """Converts a schedule of pipelines."""
    zone, _, cron = (
        schedule.cron.removeprefix("CRON_").removeprefix("TZ=").partition(" ")
        if "TZ=" in schedule.cron
        else (
            "UTC",
            "",
            schedule.cron,
        )
    )
    return Schedule(
        name=schedule.display_name,
        state=schedule.state.name.lower(),
        cron=cron,
        timezone=zone,
        reference=schedule.name,
        next_run=schedule.next_run_time.isoformat() if schedule.next_run_time else "",
    )
