"""KServe endpoint behind the common interface: an InferenceService, with intent and history in an annotation of its.

Traffic is read from the status: a version's revision is the one that the status names, never an inferred one. A change
names the object's resourceVersion, so that of two changes at once the second is refused.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.base import ServiceStatus
from headrace.components.deploy.kserve.canary import canary_name
from headrace.components.deploy.kserve.deploy import VERSION, names_of
from headrace.components.deploy.kserve.service import API_VERSION, GROUP, PLURAL, Services, refused, wait
from headrace.components.deploy.observed import observed
from headrace.components.deploy.state import Action, Change, EndpointState, Pending, state_of
from headrace.components.registry.state import Origin
from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.progress import Progress

MEMORY = "headrace.dev/endpoint"
_STORAGE = "STORAGE_URI"
# A registered Model is REGISTRY/versions/VERSION, in a bucket REGISTRY/versions/VERSION/DIGEST.
_PLACE = re.compile(r"(?P<registry>.*)/versions/(?P<version>[^/]+)(?:/[^/]+)?\Z")
_CONFLICT = 409


@dataclass(frozen=True)
class _Memory:
    """What the annotation holds.

    Attributes:
        state: that was written last.
        models: STORAGE_URI by version.
        revisions: version by Knative's revision.
    """

    state: EndpointState | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)


class KserveEndpoint:
    """An InferenceService; methods as of `base.Endpoint`.

    Args:
        name: kserve://NAMESPACE/NAME.
        services: of the cluster.
        registry: of the versions; "" for the one in the path of the model.
        timeout_s: maximum time until a change is served, in seconds.
        clock, sleep: of time, in seconds.

    Raises:
        UsageError: the name is not valid.
    """

    def __init__(
        self,
        name: str,
        services: Services,
        *,
        registry: str = "",
        timeout_s: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._namespace, self._service = names_of(name)
        self._name = name
        self._services = services
        self._registry = registry
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._read: Mapping[str, Any] | None = None

    @property
    def where(self) -> str:
        """kserve://NAMESPACE/NAME."""
        return self._name

    def changing(self) -> AbstractContextManager[None]:
        """Nothing is held: of two changes at once, the one that is written second is refused."""
        return nullcontext()

    def state(self) -> EndpointState:
        """The traffic in the status, with the marks, the intent and the history in the annotation."""
        found = self._read = self._get()
        memory = _memory(found, self._name)
        return observed(memory.state, _traffic(found, memory), list(memory.models), self._service, self._name)

    def write(self, state: EndpointState, before: EndpointState) -> None:
        """Replaces the annotation of the object that `state` read."""
        if self._read is None:
            raise PlatformError("the state of the endpoint was not read", where=self._name)
        self._patch({}, state, self._read)

    def registry(self) -> str:
        """The registry in the path of the Model that is served; "" for one on a claim, which is not mounted here."""
        found = _PLACE.match(_storage_of(self._get()["spec"]["predictor"]))
        return self._registry or (found["registry"] if found and storage.is_remote(found["registry"]) else "")

    def check(self, version: str) -> None:
        """Refuses a version whose Model is not known."""
        self._model(_memory(self._get(), self._name), version)

    def shift(self, state: EndpointState, pending: Pending, report: Progress) -> str:
        """Serves the version's Model again, as a new revision; a canary loses its traffic at once."""
        by = Origin(pending.who, pending.at, pending.why)
        return self._all_to(state, pending.version, "rollback", by, report)

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        """Gives a version all traffic: a canary is kept as it runs, another one is served again."""
        self.check(version)
        return self._all_to(self.state(), version, "promote", by, report)

    def undeploy(self, version: str) -> None:
        """Takes a canary without traffic away; KServe removes other revisions without traffic by itself."""
        found = self._read = self._get()
        if _traffic(found, _memory(found, self._name)).get(version):
            raise UsageError("the version has traffic", where=self._name, received=version)
        left = [one for one in found["spec"].get("canary", []) if _version(one["predictor"]) != version]
        if len(left) != len(found["spec"].get("canary", [])):
            self._patch({"canary": left or None}, None, found)

    def status(self) -> ServiceStatus:
        """The traffic, the address and the readiness in the status."""
        found = self._get()
        status = found.get("status", {})
        ready: dict[str, str] = next((c for c in status.get("conditions", []) if c.get("type") == "Ready"), {})
        up = ready.get("status") == "True"
        why = "" if up else str(ready.get("message") or ready.get("reason") or "no status yet")
        shares = {v: p for v, p in _traffic(found, _memory(found, self._name)).items() if p}
        return ServiceStatus(shares, str(status.get("url", "")), up, why)

    def history(self) -> tuple[Change, ...]:
        """The changes of the traffic."""
        return self.state().history

    def record(self, by: Origin) -> None:
        """Writes the present traffic into the history, after a deployment that another step made."""
        state = self.state()
        if len(state.traffic) > 1 or (state.history and state.history[-1].traffic == state.traffic):
            self.write(state, state)
        else:
            self.write(state.switched(state.live, "deploy", by, previous=state.previous), state)

    def _all_to(self, state: EndpointState, version: str, action: Action, by: Origin, report: Progress) -> str:
        found = self._read or self._get()
        memory = _memory(found, self._name)
        model = self._model(memory, version)
        if _shares(found, memory) != {version: 100} or _version(found["spec"]["predictor"]) != version:
            report(f"giving {version} all traffic")
            self._serve(found, memory, version, model, report)
        if state.live != version or dict(state.traffic) != {version: 100} or state.canary is not None:
            # The object changed: the state in it is written on what is there now.
            self._read = self._get()
            previous = state.previous if state.live == version else None if action == "rollback" else state.live
            self._patch({}, state.switched(version, action, by, previous=previous), self._read)
        return f"{version} has all traffic of {self._name}"

    def _serve(self, found: Mapping[str, Any], memory: _Memory, version: str, model: str, report: Progress) -> None:
        spec = found["spec"]
        canary = next((one for one in spec.get("canary", []) if _version(one["predictor"]) == version), None)
        stable = found.get("status", {}).get("components", {}).get("predictor", {}).get("latestRolledoutRevision", "")
        if canary is not None:
            # Promoted without a restart: the predictor takes the canary's name, and the entry goes.
            predictor: dict[str, Any] = {"name": canary_name(version), "containers": canary["predictor"]["containers"]}
            applied = self._patch({"predictor": predictor, "canary": None}, None, found, version)
        elif _version(spec["predictor"]) == version:
            applied = self._patch({"predictor": {"canaryTrafficPercent": None}, "canary": None}, None, found, version)
        else:
            if "canaryTrafficPercent" in spec["predictor"] and memory.revisions.get(stable) == version:
                # The status names the version's revision as the stable one: it answers at once.
                found = self._patch({"predictor": {"canaryTrafficPercent": 0}}, None, found)
            containers = [_with_storage(one, model) for one in spec["predictor"]["containers"]]
            predictor = {"canaryTrafficPercent": None, "containers": containers}
            applied = self._patch({"predictor": predictor, "canary": None}, None, found, version)
        wait(
            self._services, self._namespace, self._service, applied,
            timeout_s=self._timeout_s, report=report, clock=self._clock, sleep=self._sleep,
        )  # fmt: skip

    def _model(self, memory: _Memory, version: str) -> str:
        if version in memory.models:
            return memory.models[version]
        known = registries.model_of(self.registry(), version) if self.registry() else None
        if known is None or not storage.is_remote(known):
            raise UsageError(
                "the Model of the version is not known",
                where=self._name,
                expected=f"one of {', '.join(memory.models) or 'no version'}, or --registry with it",
                received=version,
            )
        return known

    def _get(self) -> dict[str, Any]:
        from kubernetes.client import ApiException

        where = f"InferenceService {self._namespace}/{self._service}"
        try:
            found: dict[str, Any] = self._services.get_namespaced_custom_object(
                GROUP, API_VERSION, self._namespace, PLURAL, self._service
            )
        except ApiException as error:
            if error.status == 404:
                raise UsageError("the endpoint does not exist", where=where) from error
            raise refused(error, where) from error
        return found

    def _patch(
        self, spec: Mapping[str, Any], state: EndpointState | None, found: Mapping[str, Any], version: str = ""
    ) -> dict[str, Any]:
        """Patches the object that was read, and its annotation; a change in between is refused."""
        from kubernetes.client import ApiException

        memory = _learned(found, _memory(found, self._name))
        kept = {
            "state": None if state is None and memory.state is None else (state or memory.state).to_json(),  # type: ignore[union-attr]
            "models": dict(memory.models),
            "revisions": dict(memory.revisions),
        }
        annotations = {MEMORY: json.dumps(kept), **({VERSION: version} if version else {})}
        meta = {
            "name": self._service,
            "namespace": self._namespace,
            "annotations": annotations,
            "resourceVersion": found["metadata"].get("resourceVersion"),
        }
        body = {"apiVersion": f"{GROUP}/{API_VERSION}", "kind": "InferenceService", "metadata": meta}
        if spec:
            body["spec"] = dict(spec)
        try:
            patched: dict[str, Any] = self._services.patch_namespaced_custom_object(
                GROUP, API_VERSION, self._namespace, PLURAL, self._service, body
            )
        except ApiException as error:
            where = f"InferenceService {self._namespace}/{self._service}"
            if error.status == _CONFLICT:
                raise PlatformError(
                    "another process changed the endpoint at the same time", where=where, fix="Try again"
                ) from error
            raise refused(error, where) from error
        self._read = patched
        return patched


def _memory(found: Mapping[str, Any], where: str) -> _Memory:
    text = found["metadata"].get("annotations", {}).get(MEMORY)
    if text is None:
        return _learned(found, _Memory())
    try:
        content = json.loads(text)
        state = None if content["state"] is None else state_of(content["state"], where)
        return _learned(found, _Memory(state, dict(content["models"]), dict(content["revisions"])))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the annotation {MEMORY} is damaged", where=where, received=repr(error)) from error


def _learned(found: Mapping[str, Any], memory: _Memory) -> _Memory:
    """The memory with what the object shows now: the Models that it serves, and the revision of the latest one."""
    predictors = [found["spec"]["predictor"], *(one["predictor"] for one in found["spec"].get("canary", []))]
    models = {**memory.models, **{_version(one): _storage_of(one) for one in predictors if _version(one)}}
    status = found.get("status", {})
    part = status.get("components", {}).get("predictor", {})
    current = status.get("observedGeneration") == found["metadata"].get("generation")
    ready = part.get("latestReadyRevision")
    revisions = dict(memory.revisions)
    if current and ready and ready == part.get("latestCreatedRevision"):
        revisions[ready] = _version(found["spec"]["predictor"])
    return _Memory(memory.state, models, revisions)


def _traffic(found: Mapping[str, Any], memory: _Memory) -> dict[str, int]:
    """Percentage by version, as the status says."""
    status = found.get("status", {})
    targets = status.get("components", {}).get("predictor", {}).get("traffic", [])
    shares: dict[str, int] = {}
    if targets:
        for one in targets:
            version = memory.revisions.get(one.get("revisionName", ""), one.get("revisionName", ""))
            shares[version] = shares.get(version, 0) + int(one.get("percent") or 0)
        return shares
    versions = {one["predictor"]["name"]: _version(one["predictor"]) for one in found["spec"].get("canary", [])}
    for one in status.get("canaryStatuses", []):
        if one["name"] in versions:
            shares[versions[one["name"]]] = int(one["trafficPercent"])
    stable = _version(found["spec"]["predictor"])
    return {**shares, stable: 100 - sum(shares.values())}


def _shares(found: Mapping[str, Any], memory: _Memory) -> dict[str, int]:
    return {version: percent for version, percent in _traffic(found, memory).items() if percent}


def _storage_of(predictor: Mapping[str, Any]) -> str:
    containers = predictor.get("containers", [])
    variables = [one for container in containers for one in container.get("env", [])]
    return str(next((one.get("value", "") for one in variables if one.get("name") == _STORAGE), ""))


def _version(predictor: Mapping[str, Any]) -> str:
    """The version in the path of a predictor's Model; "" where it is no registered one."""
    found = _PLACE.match(_storage_of(predictor))
    return "" if found is None else found["version"]


def _with_storage(container: Mapping[str, Any], model: str) -> dict[str, Any]:
    env = [{**one, "value": model} if one.get("name") == _STORAGE else dict(one) for one in container.get("env", [])]
    return {**container, "env": env}
