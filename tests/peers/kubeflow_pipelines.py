"""Kubeflow Pipelines on this machine: the REST interface that kfp.Client asks, with state that persists.

Answers are built of kfp_server_api's own models; the pipeline's spec is parsed as the server parses it, and its tasks
run in their order, a step a poll.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import kfp_server_api as api
import pytest
from peers.kubeflow_logs import main_log
from peers.kubeflow_template import Refused, check_parameters, checked
from peers.pipeline_engine import Answers, Engine, TaskState
from peers.rest import RestServer, answering

_BASE = "apis/v2beta1/"
# What the API gives for a time that is not set: time.Unix(0, 0).
_UNSET = datetime.datetime.fromtimestamp(0, datetime.UTC)
_STATES = {
    "running": "RUNNING",
    "succeeded": "SUCCEEDED",
    "cached": "SUCCEEDED",
    "skipped": "SKIPPED",
    "failed": "FAILED",
    "cancelled": "CANCELED",
}


@dataclass
class KubeflowPipelines(RestServer):
    """A running server.

    Attributes:
        do: what tasks do.
        at_end: called with each run that has ended.
        runs, recurring_runs, experiments: what it keeps, by id, in the order in which they were made.
        pod_logs: by the pod's name, as `pod_name` has it.
        broken_logs: pods whose log breaks off while it is read, after what `pod_logs` has of it.
        tag_name: the release that it reports: "unknown" where its image was built without one.
        missing_log: the HTTP status of a pod's log that is not there. The server writes 200 before it looks for the
            pod; a proxy, or another version, may give 500.
    """

    do: Answers = field(default_factory=Answers)
    at_end: Callable[[api.V2beta1Run], None] = lambda _: None
    runs: dict[str, Any] = field(default_factory=dict)
    recurring_runs: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    pod_logs: dict[str, str] = field(default_factory=dict)
    broken_logs: set[str] = field(default_factory=set)
    tag_name: str = "unknown"
    missing_log: int = 200
    _engines: dict[str, Engine] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ticks: Any = field(default_factory=itertools.count)

    def handle(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        """The answer to a request: a model, a plain object, or a text."""
        with self._lock:
            found = re.match(r"apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log\Z", path)
            if found:
                return self._log(found[1], found[2])
            if not path.startswith(_BASE):
                raise Refused(404, 5, "Not Found")
            collection, _, rest = path.removeprefix(_BASE).partition("/")
            identifier, _, verb = rest.partition(":")
            if (method, collection) == ("GET", "healthz"):
                return {"commit_sha": "unknown", "tag_name": self.tag_name, "multi_user": False}
            handlers = {"experiments": self._experiments, "runs": self._runs, "recurringruns": self._recurring}
            if collection not in handlers:
                raise Refused(404, 5, "Not Found")
            return handlers[collection](method, identifier, verb, query, body)

    def pod_name(self, run_id: str, task: str) -> str:
        """The pod of a task, as Argo names it."""
        return _Nodes(self._engines[run_id], run_id).pod(task)

    def _log(self, run_id: str, pod: str) -> str:
        """A pod's log as ReadRunLogV1 writes it: an error is JSON in its place, or after what was read."""
        why = f"Failed to read logs from pod {pod} due to "
        if run_id not in self.runs:
            why = f"Failed to read logs for run {run_id} due to run fetching error: Run {run_id} not found"
        elif pod in self.broken_logs:
            why += "error in streaming the log: unexpected EOF"
        elif pod in self.pod_logs:
            return self.pod_logs[pod]
        else:
            why += f'error opening log stream: pods "{pod}" not found'
        said = f"BadRequestError: Failed to read logs for run {run_id}: InternalServerError: {why}"
        error = {"error_message": said, "error_details": f"{said}\ngithub.com/kubeflow/pipelines/backend/src/x.go:1"}
        if pod in self.broken_logs:
            return self.pod_logs[pod] + json.dumps(error, separators=(",", ":"))
        raise Refused(self.missing_log, 13, said, error)

    def _experiments(self, method: str, identifier: str, _: str, query: dict[str, str], body: bytes) -> Any:
        if method == "POST":
            made = _parse(body, api.V2beta1Experiment)
            if any(one.display_name == made.display_name for one in self.experiments.values()):
                raise Refused(409, 6, f"Experiment {made.display_name} already exists")
            made.experiment_id, made.created_at = str(uuid.uuid4()), self._now()
            self.experiments[made.experiment_id] = made
            return made
        if identifier:
            return self._held(self.experiments, identifier)
        page, token = _page(list(self.experiments.values()), query)
        return api.V2beta1ListExperimentsResponse(experiments=page, next_page_token=token)

    def _runs(self, method: str, identifier: str, verb: str, query: dict[str, str], body: bytes) -> Any:
        if method == "POST" and not identifier:
            return self._start(_parse(body, api.V2beta1Run))
        if not identifier:
            kept = [one for one in self.runs.values() if query.get("experiment_id") in (None, one.experiment_id)]
            page, token = _page(kept, query)
            return api.V2beta1ListRunsResponse(runs=page, next_page_token=token)
        run = self._held(self.runs, identifier)
        if method == "GET":
            return self._advance(run)
        if (method, verb) == ("POST", "terminate"):
            if run.finished_at != _UNSET:
                raise Refused(400, 3, f"Failed to terminate a run: run {run.run_id} is in a final state {run.state}")
            run.state = "CANCELING"
        elif (method, verb) == ("POST", "archive"):
            run.storage_state = "ARCHIVED"
        else:
            raise Refused(404, 5, f"Not Found: {method} {identifier}:{verb}")
        return {}

    def _start(self, run: Any) -> Any:
        self._held(self.experiments, run.experiment_id)
        parameters = (run.runtime_config.parameters if run.runtime_config else None) or {}
        check_parameters(checked(run.pipeline_spec, self.tag_name), parameters)
        run.run_id, run.created_at, run.state = str(uuid.uuid4()), self._now(), "PENDING"
        run.storage_state, run.finished_at = "AVAILABLE", _UNSET
        root = "minio://mlpipeline/v2/artifacts"
        spec = run.pipeline_spec.get("pipeline_spec", run.pipeline_spec)
        self._engines[run.run_id] = Engine(spec, parameters, self.do, root, run.run_id, _workflow(run.run_id))
        self.runs[run.run_id] = run
        return run

    def _advance(self, run: Any) -> Any:
        engine = self._engines[run.run_id]
        if run.finished_at != _UNSET:
            return run
        if run.state == "PENDING":
            run.state = "RUNNING"
        elif run.state == "CANCELING":
            engine.cancel()
        else:
            engine.step()
        for task in engine.tasks.values():
            if task.message:
                status = task.exit_status
                log = task.message if status is None else main_log(task.message, f"exit status {status}")
                self.pod_logs.setdefault(self.pod_name(run.run_id, task.name), log)
        run.run_details = api.V2beta1RunDetails(task_details=_Nodes(engine, run.run_id).details())
        if engine.state != "running":
            run.state, run.finished_at = _STATES[engine.state], self._now()
            self.at_end(run)
        return run

    def _recurring(self, method: str, identifier: str, verb: str, query: dict[str, str], body: bytes) -> Any:
        if method == "POST" and not identifier:
            made = _parse(body, api.V2beta1RecurringRun)
            self._held(self.experiments, made.experiment_id)
            parameters = (made.runtime_config.parameters if made.runtime_config else None) or {}
            check_parameters(checked(made.pipeline_spec, self.tag_name), parameters)
            if len(made.trigger.cron_schedule.cron.split()) != 6:
                raise Refused(400, 3, f"The trigger {made.trigger.cron_schedule.cron!r} is not of six fields")
            made.recurring_run_id, made.created_at = str(uuid.uuid4()), self._now()
            made.status = "ENABLED" if made.mode == "ENABLE" else "DISABLED"
            self.recurring_runs[made.recurring_run_id] = made
            return made
        if not identifier:
            page, token = _page(list(self.recurring_runs.values()), query)
            return api.V2beta1ListRecurringRunsResponse(recurring_runs=page, next_page_token=token)
        held = self._held(self.recurring_runs, identifier)
        if method == "DELETE":
            del self.recurring_runs[identifier]
        elif verb in ("enable", "disable"):
            held.status = "ENABLED" if verb == "enable" else "DISABLED"
        return held if method == "GET" else {}

    def _held(self, among: dict[str, Any], identifier: str) -> Any:
        if identifier not in among:
            raise Refused(404, 5, f"ResourceNotFoundError: {identifier} not found.")
        return among[identifier]

    def _now(self) -> datetime.datetime:
        # Two things that are made in one moment keep their order.
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(microseconds=next(self._ticks))


def _parse(body: bytes, model: Any) -> Any:
    """A model from JSON; a field that it does not have is refused, as the server does."""
    told = json.loads(body)
    unknown = sorted(set(told) - set(model.attribute_map.values()))
    if unknown:
        raise Refused(400, 3, f'proto: unknown field "{unknown[0]}"')

    class Response:
        data = body

    return api.ApiClient().deserialize(Response(), model.__name__)


def _page(held: list[Any], query: dict[str, str]) -> tuple[list[Any], str]:
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        # kfp.Client gives the number, as JSON of an enum may.
        if predicate["operation"] not in ("EQUALS", 1):
            raise Refused(400, 3, f"unsupported: {predicate}")
        held = [one for one in held if getattr(one, predicate["key"]) == predicate["stringValue"]]
    key, _, direction = query.get("sort_by", "created_at").partition(" ")
    held = sorted(held, key=lambda one: getattr(one, key or "created_at"), reverse=direction == "desc")
    size, start = int(query.get("page_size") or 10), int(query.get("page_token") or 0)
    return held[start : start + size], str(start + size) if start + size < len(held) else ""


class _Nodes:
    """Argo's nodes of a run, as api_converter.go tells of them.

    A detail has neither `error` nor `pod_name`, its `child_tasks` are ids of nodes; a task with retries has its pod two
    levels below.
    """

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine, self._run_id = engine, run_id
        self._workflow = _workflow(run_id)

    def details(self) -> list[Any]:
        tasks = self._engine.tasks
        begun = min((task.started for task in tasks.values()), default=0.0)
        whole = TaskState("root", "", self._engine.state, begun)
        below = {name: [one.name for one in tasks.values() if one.parent == name] for name in ("", *tasks)}
        found = [
            self._detail(whole, self._workflow, [f"{self._workflow}.root"]),
            self._detail(whole, "root", [self._path(name) for name in below[""]]),
        ]
        for task in tasks.values():
            inner = [self._path(name) for name in below[task.name]]
            if inner or task.state in ("skipped", "cached"):
                found.append(self._detail(task, task.name, inner))
                continue
            path = self._path(task.name)
            executor = f"{path}.executor"
            attempts = [f"{executor}(0)"] if self._retried(task.name) else []
            found += [
                self._detail(replace(task, state="succeeded"), f"{task.name}-driver", [path]),
                self._detail(task, task.name, [executor]),
                self._detail(task, "executor", attempts),
                *(self._detail(task, "executor(0)", []) for _ in attempts),
            ]
        return found

    def pod(self, task: str) -> str:
        retried = self._retried(task)
        path = f"{self._path(task)}.executor{'(0)' if retried else ''}"
        template = f"{'retry-' if retried else ''}system-container-impl"
        return f"{self._workflow}-{template}-{_fnv(path)}"

    def _path(self, name: str) -> str:
        parent = self._engine.tasks[name].parent
        return f"{self._path(parent) if parent else f'{self._workflow}.root'}.{name}"

    def _retried(self, name: str) -> bool:
        spec = self._engine._spec
        graphs = [one["dag"]["tasks"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
        return any("retryPolicy" in tasks.get(name, {}) for tasks in graphs)

    def _detail(self, task: TaskState, shown: str, children: list[str]) -> Any:
        return api.V2beta1PipelineTaskDetail(
            run_id=self._run_id,
            task_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._run_id}{task.name}{shown}")),
            display_name=shown,
            create_time=_moment(task.started),
            start_time=_moment(task.started),
            end_time=_moment(task.finished or 0.0),
            state=_STATES[task.state],
            child_tasks=[
                api.PipelineTaskDetailChildTask(pod_name=f"{self._workflow}-{_fnv(child)}") for child in children
            ],
        )


def _workflow(run_id: str) -> str:
    """The name of a run's workflow."""
    return f"static-training-{run_id[:5]}"


def _fnv(path: str) -> int:
    """FNV-1a of 32 bits, by which Argo numbers nodes."""
    number = 2166136261
    for byte in path.encode():
        number = (number ^ byte) * 16777619 % 2**32
    return number


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@contextmanager
def serving() -> Iterator[KubeflowPipelines]:
    """A server on a free port of this machine."""
    running = KubeflowPipelines()

    def answer(method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes | str]:
        try:
            said, status = running.handle(method, path, query, body), 200
        except Refused as refused:
            said, status = refused.body or _status(refused.code, str(refused)), refused.status
        if isinstance(said, str):
            return status, said
        return status, json.dumps(api.ApiClient().sanitize_for_serialization(said)).encode()

    with answering(running, answer, lambda _, message: json.dumps(_status(13, message)).encode()):
        yield running


def _status(code: int, message: str) -> dict[str, Any]:
    """As the gateway writes it."""
    return {"error": message, "code": code, "message": message, "details": []}


@pytest.fixture
def kubeflow_pipelines() -> Iterator[KubeflowPipelines]:
    """A Kubeflow Pipelines of its own for one test."""
    with serving() as running:
        yield running
