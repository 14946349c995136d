"""KServe endpoint: an InferenceService, with its intent and history in an annotation.

Traffic is read from the status. The revision of a version is the one that the status names, never an inferred one. A
change names the object's resourceVersion, so that the second of two concurrent changes is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.base import ServiceStatus
from headrace.components.deploy.kserve.deploy import VERSION, names_of
from headrace.components.deploy.kserve.memory import (
    MEMORY,
    Memory,
    canary_spec,
    learned,
    memory_of,
    predictor_status,
    registry_in,
    shares_of,
    traffic_of,
    version_of,
    with_storage,
)
from headrace.components.deploy.kserve.service import API_VERSION, GROUP, PLURAL, Services, translate_errors, wait
from headrace.components.deploy.observed import observed
from headrace.components.deploy.state import Action, EndpointState, PendingChange, TrafficChange
from headrace.components.registry.state import Origin
from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress

_CONFLICT = 409


class KserveEndpoint:
    """An InferenceService; methods as of `base.Endpoint`.

    Args:
        name: kserve://NAMESPACE/NAME.
        services: client of the cluster.
        registry: registry of the versions; "" for the one in the path of the Model.
        timeout_s: maximum time until a change is served, in seconds.
        clock, sleep: clock and wait, in seconds.

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
        """An empty context. Of two concurrent changes, the one that is written second is refused."""
        return nullcontext()

    def state(self) -> EndpointState:
        """The traffic in the status, with the marks, the intent and the history in the annotation."""
        found = self._read = self._get()
        memory = memory_of(found, self._name)
        return observed(memory.state, traffic_of(found, memory), list(memory.models), self._service, self._name)

    def deployments(self) -> Mapping[str, str]:
        """Empty: the servers of an InferenceService need no ids of deployments."""
        return {}

    def write(self, state: EndpointState, before: EndpointState) -> None:
        """Replaces the annotation of the object that `state` read, unless another process changed the object."""
        if self._read is None:
            raise PlatformError("the state of the endpoint was not read", where=self._name)
        self._patch({}, state, self._read)

    def registry(self) -> str:
        """The registry in the path of the served Model; "" if it is on a volume claim, which is not mounted here."""
        found = registry_in(self._get()["spec"]["predictor"])
        return self._registry or (found if storage.is_remote(found) else "")

    def check(self, version: str) -> None:
        """Refuses a version whose Model is unknown."""
        self._model(memory_of(self._get(), self._name), version)

    def shift(self, state: EndpointState, pending: PendingChange, report: Progress) -> str:
        """Serves the version's Model again, as a new revision; a canary loses its traffic at once."""
        by = Origin(pending.who, pending.at, pending.why)
        return self._all_to(state, pending.version, "rollback", by, report)

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        """Gives a version all traffic. A canary is not restarted; another version is served as a new revision."""
        self.check(version)
        return self._all_to(self.state(), version, "promote", by, report)

    def split(self, traffic: Mapping[str, int], report: Progress) -> None:
        """Splits the traffic between the stable version and the deployed canary, and checks it in the status."""
        found = self._read = self._get()
        memory = memory_of(found, self._name)
        if shares_of(found, memory) != dict(traffic):
            report(f"splitting the traffic: {', '.join(f'{v} {p} %' for v, p in traffic.items())}")
            if len(traffic) == 1:
                (version,) = traffic
                self._serve(found, memory, version, self._model(memory, version), report)
            else:
                self._wait(self._patch(canary_spec(found, memory, traffic, self._name), None, found), report)
        found = self._get()
        shares = shares_of(found, memory_of(found, self._name))
        if shares != dict(traffic):
            raise PlatformError(
                "the traffic of the endpoint is not as it was set",
                where=self._name,
                expected=str(dict(traffic)),
                received=str(shares),
                fix="Try again",
            )

    def undeploy(self, version: str) -> None:
        """Removes a canary without traffic. KServe itself removes other revisions without traffic."""
        found = self._read = self._get()
        if traffic_of(found, memory_of(found, self._name)).get(version):
            raise UsageError("the version has traffic", where=self._name, received=version)
        left = [one for one in found["spec"].get("canary", []) if version_of(one["predictor"]) != version]
        if len(left) != len(found["spec"].get("canary", [])):
            self._patch({"canary": left or None}, None, found)

    def status(self) -> ServiceStatus:
        """The traffic, the URL and the readiness in the status."""
        found = self._get()
        status = found.get("status", {})
        ready: dict[str, str] = next((c for c in status.get("conditions", []) if c.get("type") == "Ready"), {})
        up = ready.get("status") == "True"
        why = "" if up else str(ready.get("message") or ready.get("reason") or "no status yet")
        shares = shares_of(found, memory_of(found, self._name))
        return ServiceStatus(shares, str(status.get("url", "")), up, why)

    def history(self) -> tuple[TrafficChange, ...]:
        """The changes of the traffic."""
        return self.state().history

    def record(self, by: Origin) -> None:
        """Adds the current traffic to the history, after a deployment by another step."""
        state = self.state()
        if len(state.traffic) > 1 or (state.history and state.history[-1].traffic == state.traffic):
            self.write(state, state)
        else:
            self.write(state.switched(state.live, "deploy", by, previous=state.previous), state)

    def _all_to(self, state: EndpointState, version: str, action: Action, by: Origin, report: Progress) -> str:
        found = self._read or self._get()
        memory = memory_of(found, self._name)
        model = self._model(memory, version)
        if shares_of(found, memory) != {version: 100} or version_of(found["spec"]["predictor"]) != version:
            report(f"giving {version} all traffic")
            self._serve(found, memory, version, model, report)
        if state.live != version or dict(state.traffic) != {version: 100} or state.canary is not None:
            # The object changed, so the state is written to its current version.
            self._read = self._get()
            previous = state.previous if state.live == version else None if action == "rollback" else state.live
            self._patch({}, state.switched(version, action, by, previous=previous), self._read)
        return f"{version} has all traffic of {self._name}"

    def _serve(self, found: Mapping[str, Any], memory: Memory, version: str, model: str, report: Progress) -> None:
        spec = found["spec"]
        canary = next((one for one in spec.get("canary", []) if version_of(one["predictor"]) == version), None)
        stable = predictor_status(found).get("latestRolledoutRevision", "")
        if canary is not None:
            # Promoted without a restart: the predictor gets the canary's name, and the entry is removed.
            predictor: dict[str, Any] = {
                "name": canary["predictor"]["name"],
                "containers": canary["predictor"]["containers"],
            }
            applied = self._patch({"predictor": predictor, "canary": None}, None, found, version)
        elif version_of(spec["predictor"]) == version:
            applied = self._patch({"predictor": {"canaryTrafficPercent": None}, "canary": None}, None, found, version)
        else:
            if "canaryTrafficPercent" in spec["predictor"] and memory.revisions.get(stable) == version:
                # The status names the version's revision as the stable one, so it gets the traffic at once.
                found = self._patch({"predictor": {"canaryTrafficPercent": 0}}, None, found)
            containers = [with_storage(one, model) for one in spec["predictor"]["containers"]]
            predictor = {"canaryTrafficPercent": None, "containers": containers}
            applied = self._patch({"predictor": predictor, "canary": None}, None, found, version)
        self._wait(applied, report)

    def _wait(self, applied: Mapping[str, Any], report: Progress) -> None:
        wait(
            self._services, self._namespace, self._service, applied,
            timeout_s=self._timeout_s, report=report, clock=self._clock, sleep=self._sleep,
        )  # fmt: skip

    def _model(self, memory: Memory, version: str) -> str:
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
        with translate_errors(where):
            try:
                found: dict[str, Any] = self._services.get_namespaced_custom_object(
                    GROUP, API_VERSION, self._namespace, PLURAL, self._service
                )
            except ApiException as error:
                if error.status == 404:
                    raise UsageError("the endpoint does not exist", where=where) from error
                raise
        return found

    def _patch(
        self, spec: Mapping[str, Any], state: EndpointState | None, found: Mapping[str, Any], version: str = ""
    ) -> dict[str, Any]:
        """Patches the object that was read, and its annotation. It fails if the object changed in between."""
        from kubernetes.client import ApiException

        memory = learned(found, memory_of(found, self._name))
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
        where = f"InferenceService {self._namespace}/{self._service}"
        with translate_errors(where):
            try:
                patched: dict[str, Any] = self._services.patch_namespaced_custom_object(
                    GROUP, API_VERSION, self._namespace, PLURAL, self._service, body
                )
            except ApiException as error:
                if error.status != _CONFLICT:
                    raise
                raise PlatformError(
                    "another process changed the endpoint at the same time", where=where, fix="Try again"
                ) from error
        self._read = patched
        return patched
