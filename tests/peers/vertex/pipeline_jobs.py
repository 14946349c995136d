"""Pipeline jobs, schedules and logs of the test server: a job's tasks run in their order, a step a poll."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.cloud import aiplatform_v1 as vertex
from peers.pipeline_engine import Answers, Engine, TaskState
from peers.vertex.resources import invalid
from peers.vertex.service import LOCATION, PARENT, PROJECT, Vertex

_STATES = {
    "running": "RUNNING",
    "succeeded": "SUCCEEDED",
    "cached": "SKIPPED",
    "skipped": "NOT_TRIGGERED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
}
_JOB_IDS = re.compile(r'"([^"]+)"')


@dataclass
class Pipelines(Vertex):
    """The service with pipelines.

    Attributes:
        do: what tasks do.
        at_end: called with each pipeline job that has ended.
        log: entries of Cloud Logging.
        engines: of the pipeline jobs, by name.
    """

    do: Answers = field(default_factory=Answers)
    at_end: Callable[[Any], None] = lambda _: None
    log: list[dict[str, Any]] = field(default_factory=list)
    engines: dict[str, Engine] = field(default_factory=dict)

    def handle(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        """The answer to a request; Cloud Logging's method among them."""
        if path == "v2/entries:list":
            return self._entries(json.loads(body))
        return super().handle(method, path, query, body)

    def fire(self, schedule: str) -> str:
        """Lets a schedule's time come; the name of the run that it makes."""
        held = self.resources[schedule]
        job = held.create_pipeline_job_request.pipeline_job
        identifier = f"{job.display_name}-{self.number()}"
        body = type(job).to_json(job).encode()
        self.handle("POST", f"{PARENT}/pipelineJobs", {"pipelineJobId": identifier}, body)
        return f"{PARENT}/pipelineJobs/{identifier}"

    def finish(self, name: str) -> Any:
        """Polls a pipeline job until it has ended."""
        while not self.resources[name].end_time:
            self.handle("GET", name, {}, b"")
        return self.resources[name]

    def _create(self, collection: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        answer = super()._create(collection, query, body)
        if collection == "pipelineJobs":
            held = json.loads(body)
            config = held["runtimeConfig"]
            root = f"{config['gcsOutputDirectory']}/{answer['name'].rpartition('/')[2]}"
            self.engines[answer["name"]] = Engine(
                held["pipelineSpec"], config.get("parameterValues", {}), self.do, root, answer["name"]
            )
        return answer

    def _advance(self, collection: str, job: Any) -> None:
        if collection != "pipelineJobs":
            return super()._advance(collection, job)
        states, engine = type(job.state), self.engines[job.name]
        if job.state == states.PIPELINE_STATE_CANCELLING:
            engine.cancel()
        elif job.state == states.PIPELINE_STATE_RUNNING:
            # A task that asks the service itself must not find it waiting for the task.
            self._lock.release()
            try:
                engine.step()
            finally:
                self._lock.acquire()
        else:
            # Queued, pending, then running; the last state is the engine's to reach.
            return super()._advance(collection, job)
        job.job_detail.task_details = [_detail(task) for task in engine.tasks.values()]
        job.update_time = datetime.datetime.now(datetime.UTC)
        if engine.state == "running":
            return None
        job.state = states[f"PIPELINE_STATE_{_STATES[engine.state]}"]
        job.end_time = job.update_time
        failed = [name for name, task in engine.tasks.items() if task.state == "failed"]
        if failed:
            job.error.code = 9
            job.error.message = (
                "The DAG failed because some tasks failed. The failed tasks are: [" + ", ".join(failed) + "]."
            )
        self.at_end(job)
        return None

    def _cancel(self, collection: str, job: Any, body: bytes) -> dict[str, Any]:
        if collection != "pipelineJobs":
            return super()._cancel(collection, job, body)
        if job.end_time:
            raise invalid(f"The pipeline job {job.name} is in a terminal state: {job.state.name}")
        job.state = type(job.state).PIPELINE_STATE_CANCELLING
        return {}

    def _entries(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["resourceNames"] != [f"projects/{PROJECT}"] or request["orderBy"] != "timestamp asc":
            raise invalid(f"Unexpected request: {request}")
        text = request["filter"]
        wanted, _, after = text.partition(' AND timestamp>"')
        ids = set(_JOB_IDS.findall(wanted))
        found = [
            entry
            for entry in self.log
            if ids & set(entry["resource"]["labels"].values()) and entry["timestamp"] > after.rstrip('"')
        ]
        start = int(request.get("pageToken") or 0)
        # A small page, so that there is a second one.
        page = found[start : start + 2]
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}
        return {"entries": page, **more}


def job_id(task: str) -> str:
    """The id of the custom job that a task's container runs as."""
    return str(abs(hash(task)) % 10**18)


def _detail(task: TaskState) -> Any:
    detail = vertex.PipelineTaskDetail(
        task_id=abs(hash(task.name)) % 10**12,
        task_name=task.name,
        state=vertex.PipelineTaskDetail.State[_STATES[task.state]],
        create_time=_moment(task.started),
        start_time=_moment(task.started),
        end_time=_moment(task.finished) if task.finished else None,
        execution={"metadata": {f"output:{key}": value for key, value in task.outputs.items()}},
        executor_detail={
            "container_detail": {"main_job": f"projects/1/locations/{LOCATION}/customJobs/{job_id(task.name)}"}
        },
    )
    if task.message:
        detail.error.code, detail.error.message = 9, task.message
    return detail


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
