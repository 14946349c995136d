"""What the test server does with a request: it keeps resources, and jobs and operations advance by a step a poll."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.cloud import aiplatform_v1 as vertex
from google.cloud import aiplatform_v1beta1 as beta
from google.rpc import code_pb2
from peers.vertex.endpoints import Endpoints, check_traffic, open_endpoint
from peers.vertex.models import Models
from peers.vertex.operations import Operation
from peers.vertex.resources import KINDS, Refusal, from_json, invalid, now, parse, to_json

PROJECT, LOCATION = "demo-project", "us-central1"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"

_RESOURCE = re.compile(r"(projects/[^/]+/locations/[^/]+)/([A-Za-z]+)(?:/([^/:@]+)(?:@([^/:]+))?)?(?::([A-Za-z]+))?\Z")
_OPERATION = re.compile(r"(.+)/operations/([0-9]+)(?::([a-z]+))?\Z")

# Does the work of a job when its time has come; what it raises fails the job with that message.
Work = Callable[[Any], None]


@dataclass
class Vertex:
    """The service's state.

    Attributes:
        resources: by full name.
        models: with their versions.
        operations: by full name.
        work: what jobs of a kind do.
        running: what a running job of a kind does at each poll; it runs until that is true.
        failing_operations: the message with which the next operations fail, late.
    """

    work: dict[str, Work] = field(default_factory=dict)
    running: dict[str, Callable[[Any], bool]] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    failing_operations: list[str] = field(default_factory=list)
    last_number: int = 1_000_000
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.models = Models(self)
        self.endpoints = Endpoints(self)
        self._effects = {
            "create": self._finish_create,
            "put monitor": self._finish_monitor,
            "delete": self._finish_delete,
            "upload": self.models.finish_upload,
            "deploy": self.endpoints.finish_deploy,
            "undeploy": self.endpoints.finish_undeploy,
        }

    def use(self, action: Callable[[Vertex], None]) -> None:
        """Does something with it while no request changes it."""
        with self._lock:
            action(self)

    def number(self) -> int:
        """The next number that names something."""
        self.last_number += 1
        return self.last_number

    @property
    def versions(self) -> dict[str, dict[str, Any]]:
        """The versions of models, by name and then version."""
        return self.models.versions

    def model(self, name: str) -> Any:
        """A model by its name, perhaps with @VERSION or @ALIAS."""
        return self.models.find(name)

    def handle(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        """The answer to a request, as JSON.

        Raises:
            Refusal: what the service refuses.
        """
        with self._lock:
            found = _OPERATION.match(path)
            if found:
                return self._operation(method, found)
            found = _RESOURCE.match(path)
            if not found or found[2] not in KINDS:
                raise Refusal(404, "NOT_FOUND", f"There is no method {method} /v1/{path}")
            parent, collection, identifier, version, verb = found.groups()
            if parent != PARENT:
                raise Refusal(
                    403, "PERMISSION_DENIED", f"Permission denied on resource {parent} (or it may not exist)."
                )
            if identifier is None:
                if verb:
                    return self._on_collection(collection, verb, method, body)
                return self._create(collection, query, body) if method == "POST" else self._list(collection, query)
            name = f"{parent}/{collection}/{identifier}"
            return self._on_resource(collection, name, version, verb, method, query, body)

    # Collections

    def _create(self, collection: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        kind = KINDS[collection]
        if collection == "models":
            raise invalid("Models are uploaded with models:upload")
        resource = parse(_message(collection, body), body)
        kind.check(resource)
        if collection == "batchPredictionJobs" and resource.model:
            self.model(resource.model)
        identifier = query.get(f"{collection[:-1]}Id") or str(self.number())
        name = f"{PARENT}/{collection}/{identifier}"
        if not re.match(r"[a-z0-9][a-z0-9-]{0,126}\Z", identifier):
            raise invalid(f"Invalid id: {identifier!r}")
        if name in self.resources:
            raise Refusal(409, "ALREADY_EXISTS", f"{name} already exists")
        resource.name = name
        resource.create_time = resource.update_time = now()
        if kind.states:
            resource.state = type(resource.state)[kind.states[0]]
        if collection == "schedules":
            resource.state = vertex.Schedule.State.ACTIVE
        if collection == "endpoints":
            return self.start("create", to_json(resource), "Endpoint", parent=name)
        if collection == "modelMonitors":
            return self.start("put monitor", to_json(resource), "ModelMonitor", parent=name)
        self.resources[name] = resource
        return to_json(resource)

    def _finish_create(self, argument: dict[str, Any]) -> Any:
        endpoint = from_json(vertex.Endpoint, argument)
        open_endpoint(endpoint, self.number())
        self.resources[endpoint.name] = endpoint
        return endpoint

    def _finish_monitor(self, argument: dict[str, Any]) -> Any:
        monitor = from_json(beta.ModelMonitor, argument)
        self.resources[monitor.name] = monitor
        return monitor

    def _list(self, collection: str, query: dict[str, str]) -> dict[str, Any]:
        found = [r for n, r in self.resources.items() if n.startswith(f"{PARENT}/{collection}/")]
        for term in filter(None, query.get("filter", "").split(" AND ")):
            found = [resource for resource in found if _matches(resource, term)]
        size, start = int(query.get("pageSize") or 100), int(query.get("pageToken") or 0)
        page = found[start : start + size]
        answer: dict[str, Any] = {collection: [to_json(resource) for resource in page]}
        if start + size < len(found):
            answer["nextPageToken"] = str(start + size)
        return answer

    def _on_collection(self, collection: str, verb: str, method: str, body: bytes) -> dict[str, Any]:
        if (collection, verb, method) != ("models", "upload", "POST"):
            raise Refusal(404, "NOT_FOUND", f"There is no method {collection}:{verb}")
        return self.models.upload(PARENT, body)

    # One resource

    def _on_resource(
        self,
        collection: str,
        name: str,
        version: str | None,
        verb: str | None,
        method: str,
        query: dict[str, str],
        body: bytes,
    ) -> dict[str, Any]:
        if name not in self.resources:
            raise Refusal(404, "NOT_FOUND", f"The {KINDS[collection].message.__name__} {name} does not exist.")
        resource = self.resources[name]
        if collection == "models":
            resource = self.models.find(f"{name}@{version}" if version else name)
        if verb is None and method == "GET":
            if KINDS[collection].states:
                self._advance(collection, resource)
            return to_json(resource)
        if verb is None and method == "DELETE":
            return self._delete(collection, name, resource)
        if verb is None and method == "PATCH":
            return self._patch(collection, resource, query, body)
        return self._on_verb(collection, resource, verb, body)

    def _on_verb(self, collection: str, resource: Any, verb: str | None, body: bytes) -> dict[str, Any]:
        match collection, verb:
            case "schedules", "pause" | "resume":
                resource.state = vertex.Schedule.State["PAUSED" if verb == "pause" else "ACTIVE"]
                return {}
            case "models", "listVersions":
                return self.models.list_versions(resource)
            case "models", "mergeVersionAliases":
                return self.models.merge_aliases(resource, body)
            case "endpoints", "deployModel":
                return self.endpoints.deploy(resource, body)
            case "endpoints", "undeployModel":
                return self.endpoints.undeploy(resource, body)
            case _, "cancel":
                return self._cancel(collection, resource, body)
        raise Refusal(404, "NOT_FOUND", f"There is no method {collection}:{verb}")

    def _advance(self, collection: str, job: Any) -> None:
        """Takes a job one state on; its work is done on the way to the last."""
        kind = KINDS[collection]
        if job.state.name not in kind.states[:-1]:
            return
        after = kind.states[kind.states.index(job.state.name) + 1]
        if after == kind.states[-1]:
            job.update_time = now()
            try:
                if collection in self.running and not self.running[collection](job):
                    return
                if collection in self.work:
                    self.work[collection](job)
            except Refusal as refusal:
                job.error.code, job.error.message = code_pb2.Code.Value(refusal.status), refusal.message
                after = kind.failed
            except Exception as error:  # a worker that fails is a job that failed
                job.error.code, job.error.message = 13, f"{type(error).__name__}: {error}"
                after = kind.failed
        job.state = type(job.state)[after]
        job.update_time = now()
        if after.endswith("_RUNNING"):
            job.start_time = now()
        if after in (kind.states[-1], kind.failed):
            job.end_time = now()

    def _cancel(self, collection: str, job: Any, _: bytes) -> dict[str, Any]:
        kind = KINDS[collection]
        if not kind.states:
            raise invalid("it cannot be cancelled")
        if job.state.name in kind.states[:-1]:
            job.state = type(job.state)[kind.cancelled]
            job.error.code, job.error.message = 1, "CANCELLED"
            job.end_time = now()
        return {}

    def _delete(self, collection: str, name: str, resource: Any) -> dict[str, Any]:
        if collection == "endpoints" and resource.deployed_models:
            raise Refusal(400, "FAILED_PRECONDITION", f"Endpoint {name} has deployed models; undeploy them first.")
        return self.start("delete", {"name": name}, "", parent=name)

    def _finish_delete(self, argument: dict[str, Any]) -> None:
        self.resources.pop(argument["name"], None)
        self.models.versions.pop(argument["name"], None)

    def _patch(self, collection: str, resource: Any, query: dict[str, str], body: bytes) -> dict[str, Any]:
        change = parse(_message(collection, body), body)
        fields = [re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", f) for f in query.get("updateMask", "").split(",")]
        if not any(fields):
            raise invalid("updateMask must be given")
        for name in fields:
            if name == "traffic_split":
                check_traffic(change.traffic_split, {m.id for m in resource.deployed_models})
            setattr(resource, name, getattr(change, name))
        resource.update_time = now()
        if collection == "modelMonitors":
            KINDS[collection].check(resource)
            return self.start("put monitor", to_json(resource), "ModelMonitor", parent=resource.name)
        return to_json(resource)

    # Operations

    def start(self, effect: str, argument: dict[str, Any], response_type: str, *, parent: str) -> dict[str, Any]:
        """Begins an operation of something, which has its effect when it ends."""
        operation = Operation(f"{parent}/operations/{self.number()}", effect, argument, response_type)
        if self.failing_operations:
            operation.error = {"code": 13, "message": self.failing_operations.pop(0)}
        self.operations[operation.name] = operation
        return operation.show()

    def _operation(self, method: str, found: re.Match[str]) -> dict[str, Any]:
        name, verb = f"{found[1]}/operations/{found[2]}", found[3]
        operation = self.operations.get(name)
        if operation is None:
            raise Refusal(404, "NOT_FOUND", f"The operation {name} does not exist.")
        if method == "GET" or verb == "wait":
            operation.poll(self._effects)
        return operation.show()


def _message(collection: str, body: bytes) -> Any:
    """The message of a resource in a request; what schedules of monitoring jobs have is not in v1."""
    of_monitor = collection == "schedules" and b"createModelMonitoringJobRequest" in body
    return beta.Schedule if of_monitor else KINDS[collection].message


def _matches(resource: Any, term: str) -> bool:
    """Whether a resource meets a term of a list filter: FIELD="VALUE", != as well, labels.KEY=VALUE, labels.KEY:*."""
    found = re.match(r'([a-z_]+)(?:\.([\w-]+))?(!?=|:)"?([^"]*)"?\Z', term.strip())
    if found is None:
        raise invalid(f"Invalid filter: {term}")
    name, key, how, value = found.groups()
    held = getattr(resource, name, None)
    if name == "labels":
        held = resource.labels.get(key)
        if how == ":":
            return held is not None
    text = getattr(held, "name", held)
    return (text == value) is (how == "=")
