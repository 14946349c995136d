"""Dataflow on this machine: its REST interface, built of its own messages; a job's staged pipeline is run by Beam.

Beam's own options lead its runner here: dataflow_endpoint and no_auth. A pipeline's work is done in this process by the
in-memory runner, from the file that was staged, once its job has been polled.
"""

from __future__ import annotations

import datetime
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud import dataflow_v1beta3 as dataflow
from google.protobuf import json_format
from peers.rest import RestServer, answering

from headrace.core import storage

_JOB = re.compile(r"projects/([^/]+)/locations/([^/]+)/jobs(?:/([^/]+)(?:/(messages|metrics))?)?\Z")
_STATUS = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
_STATES = dataflow.JobState
_ENDED = (_STATES.JOB_STATE_DONE, _STATES.JOB_STATE_FAILED, _STATES.JOB_STATE_CANCELLED)


@dataclass
class Held:
    """A job that the service keeps.

    Attributes:
        job: as it was asked for, with its state.
        pipeline: what was staged.
        counters: of the user's, by namespace and name.
        error: what it failed with.
    """

    job: Any
    pipeline: Any
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    error: str = ""


@dataclass
class Dataflow(RestServer):
    """A running service.

    Attributes:
        jobs: by id, in the order in which they were made.
        work: does a job's work; by default its pipeline is run. What it raises fails the job.
        creating: called before a job is made.
        endless: jobs stay as they are until somebody cancels them.
    """

    jobs: dict[str, Held] = field(default_factory=dict)
    work: Callable[[Held], None] | None = None
    creating: Callable[[], None] = lambda: None
    endless: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def beam_options(self) -> dict[str, str]:
        """What leads Beam's runner here."""
        return {"dataflow_endpoint": self.url.replace("127.0.0.1", "localhost"), "no_auth": "true"}

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the answer of a request."""
        found = _JOB.match(path)
        if found is None:
            return _refused(404, f"There is no method {method} /v1b3/{path}")
        project, region, identifier, of = found.groups()
        with self._lock:
            if identifier is None:
                return self._create(project, region, body)
            held = self.jobs.get(identifier)
            if held is None:
                return _refused(404, f"({identifier}): Information about job could not be found in our system.")
            if of == "messages":
                return 200, _plain(_messages(held))
            if of == "metrics":
                return 200, _plain(_metrics(held))
            if method == "PUT":
                wanted = _parsed(dataflow.Job, body).requested_state
                if wanted != _STATES.JOB_STATE_CANCELLED:
                    return _refused(400, f"A job cannot be brought to {wanted.name}")
                held.job.current_state = _STATES.JOB_STATE_CANCELLED
            else:
                self._advance(held)
            return 200, _plain(held.job)

    def _create(self, project: str, region: str, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            job = _parsed(dataflow.Job, body)
        except json_format.ParseError as error:
            return _refused(400, f"Invalid JSON payload received. {error}")
        for held in self.jobs.values():
            if held.job.name == job.name and held.job.current_state not in _ENDED:
                # The service answers with the job that there is; whose request made it, says client_request_id.
                return 200, _plain(held.job)
        self.creating()
        job.id = f"2026-01-01_00_00_00-{len(self.jobs) + 1}"
        job.project_id, job.location = project, region
        job.current_state = _STATES.JOB_STATE_PENDING
        job.create_time = datetime.datetime.now(datetime.UTC)
        self.jobs[job.id] = Held(job, _staged(job))
        return 200, _plain(job)

    def _advance(self, held: Held) -> None:
        if held.job.current_state == _STATES.JOB_STATE_PENDING:
            held.job.current_state = _STATES.JOB_STATE_RUNNING
        elif held.job.current_state == _STATES.JOB_STATE_RUNNING and not self.endless:
            try:
                (self.work or run_pipeline)(held)
            except Exception:  # a worker that fails is a job that failed
                held.error = traceback.format_exc()
                held.job.current_state = _STATES.JOB_STATE_FAILED
            else:
                held.job.current_state = _STATES.JOB_STATE_DONE


def run_pipeline(held: Held) -> None:
    """Runs a job's staged pipeline in this process."""
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.CopyFrom(held.pipeline)
    for environment in pipeline.components.environments.values():
        # Workers of the image are not to be had here.
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
    result = FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([]))
    result.wait_until_finish()
    for counter in result.metrics().query()["counters"]:
        key = (counter.key.metric.namespace, counter.key.metric.name)
        held.counters[key] = held.counters.get(key, 0) + counter.committed


@contextmanager
def serving() -> Iterator[Dataflow]:
    """A service on a free port of this machine."""
    running = Dataflow()

    def answer(method: str, path: str, _: dict[str, str], body: bytes) -> tuple[int, bytes]:
        status, said = running.handle(method, path, body)
        return status, json.dumps(said).encode()

    def refusal(code: int, message: str) -> bytes:
        return json.dumps(_refused(code, message)[1]).encode()

    with answering(running, answer, refusal, "v1b3/"):
        yield running


def _staged(job: Any) -> Any:
    """The pipeline that the job's options say was staged."""
    uri = dict(job.environment.sdk_pipeline_options)["options"]["pipelineUrl"]
    return beam_runner_api_pb2.Pipeline.FromString(storage.read_bytes(uri))


def _messages(held: Held) -> Any:
    if not held.error:
        return dataflow.ListJobMessagesResponse()
    kind = dataflow.JobMessageImportance.JOB_MESSAGE_ERROR
    message = dataflow.JobMessage(id="1", time=held.job.create_time, message_text=held.error, message_importance=kind)
    return dataflow.ListJobMessagesResponse(job_messages=[message])


def _metrics(held: Held) -> Any:
    made = [
        dataflow.MetricUpdate(
            name={"origin": "user", "name": name, "context": {"namespace": namespace, **tentative}}, scalar=value
        )
        for (namespace, name), value in held.counters.items()
        for tentative in ({}, {"tentative": "true"})
    ]
    return dataflow.JobMetrics(metrics=made)


def _parsed(message: Any, body: bytes) -> Any:
    """A message; a field that the service does not have is refused."""
    return message.from_json(body.decode() or "{}", ignore_unknown_fields=False)


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(type(message).to_json(message, use_integers_for_enums=False))
    return plain


def _refused(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"error": {"code": code, "message": message, "status": _STATUS.get(code, "UNKNOWN")}}
