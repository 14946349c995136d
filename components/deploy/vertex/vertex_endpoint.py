"""Vertex AI endpoint, with its intent and history next to the registry.

The service stores deployed models and a traffic split. `endpoints/ID.json`, next to the registry's `registry.json` on
gs://, stores the intent, the marks and the history, and is changed by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as api

from headrace.components.deploy.base import ServiceStatus
from headrace.components.deploy.observed import observed
from headrace.components.deploy.state import Action, EndpointState, PendingChange, TrafficChange, state_of
from headrace.components.deploy.vertex.deploy import ROLE, check_name, predict_url
from headrace.components.registry.state import Origin
from headrace.components.registry.vertex.registry import folder_of, uploaded
from headrace.core import storage
from headrace.core.cloud import errors
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.progress import Progress
from headrace.core.storage.compare_and_set import create_if_absent, json_of, read_with_token, replace_if_unchanged
from headrace.core.storage.json_lines import json_bytes

FOLDER = "endpoints"


@dataclass(frozen=True)
class _Deployed:
    """Deployed models and their traffic: ids and percentages by version, the registry, and the URL of predictions.

    Versions are in the order of their numbers in the registry. If a version is deployed twice, the id is that of the
    deployment with more traffic, and the percentage is the sum of both.
    """

    ids: Mapping[str, str]
    traffic: Mapping[str, int]
    entry: str
    url: str


class VertexEndpoint:
    """An endpoint of Vertex AI; methods as of `base.Endpoint`.

    Args:
        name: projects/PROJECT/locations/REGION/endpoints/ID.
        registry: projects/PROJECT/locations/REGION/models/ID; "" for the registry of the deployed versions.

    Raises:
        UsageError: the name is not valid.
    """

    def __init__(self, name: str, *, registry: str = "") -> None:
        check_name(name)
        self._name = name
        self._registry = registry
        self._read: tuple[str, str | None] | None = None

    @property
    def where(self) -> str:
        """The endpoint's resource name."""
        return self._name

    def changing(self) -> AbstractContextManager[None]:
        """An empty context. Of two concurrent changes, the one that is written second is refused."""
        return nullcontext()

    def state(self) -> EndpointState:
        """The traffic that the service reports, with the marks, the intent and the history."""
        deployed = self._deployed()
        uri = self._uri(deployed.entry)
        found = read_with_token(uri)
        self._read = (uri, None if found is None else found.token)
        written = None if found is None else state_of(json_of(found.content, uri), uri)
        name = self._name.rpartition("/")[2]
        return observed(written, deployed.traffic, list(deployed.ids), name, self._name)

    def deployments(self) -> Mapping[str, str]:
        """Ids of the deployed models by version. Their servers read them from AIP_DEPLOYED_MODEL_ID."""
        return self._deployed().ids

    def write(self, state: EndpointState, before: EndpointState) -> None:
        """Replaces the state that `state` read last, unless another process changed it."""
        if self._read is None:
            raise PlatformError("the state of the endpoint was not read", where=self._name)
        uri, token = self._read
        content = json_bytes(state.to_json())
        written = create_if_absent(uri, content) if token is None else replace_if_unchanged(uri, content, token)
        if not written:
            raise PlatformError("another process changed the endpoint at the same time", where=uri, fix="Try again")
        now = read_with_token(uri)
        self._read = (uri, None if now is None else now.token)

    def registry(self) -> str:
        """The entry of Vertex AI's Model Registry that the deployed versions come from."""
        return self._registry or self._deployed().entry

    def check(self, version: str) -> None:
        """Refuses a version that is not deployed, because it has no machines."""
        deployed = self._deployed()
        if version not in deployed.ids:
            raise UsageError(
                "the version is not deployed",
                where=self._name,
                expected=f"one of {', '.join(deployed.ids)}",
                received=version,
                fix="Deploy it again without traffic first",
            )

    def shift(self, state: EndpointState, pending: PendingChange, report: Progress) -> str:
        """Gives the version all traffic. The service shifts it without failed requests."""
        by = Origin(pending.who, pending.at, pending.why)
        return self._all_to(state, pending.version, "rollback", by, report)

    def promote(self, version: str, by: Origin, report: Progress) -> str:
        """Gives a deployed version all traffic."""
        self.check(version)
        return self._all_to(self.state(), version, "promote", by, report)

    def split(self, traffic: Mapping[str, int], report: Progress) -> None:
        """Replaces the traffic split."""
        for version in traffic:
            self.check(version)
        deployed = self._deployed()
        if {one: percent for one, percent in deployed.traffic.items() if percent} == dict(traffic):
            return
        report(f"splitting the traffic: {', '.join(f'{v} {p} %' for v, p in traffic.items())}")
        split = {identity: traffic.get(version, 0) for version, identity in deployed.ids.items()}
        with errors.translate_errors("Vertex AI", self._name, ROLE):
            self._service().update(traffic_split=split)

    def undeploy(self, version: str) -> None:
        """Undeploys a version without traffic, which releases its machines."""
        deployed = self._deployed()
        if deployed.traffic.get(version):
            raise UsageError(
                "the version has traffic", where=self._name, received=f"{version}, {deployed.traffic[version]} %"
            )
        if version in deployed.ids:
            with errors.translate_errors("Vertex AI", self._name, ROLE):
                self._service().undeploy(deployed.ids[version])

    def status(self) -> ServiceStatus:
        """The traffic split, and the URL of predictions."""
        deployed = self._deployed()
        shares = {version: percent for version, percent in deployed.traffic.items() if percent}
        return ServiceStatus(shares, deployed.url, bool(shares), "" if shares else "no deployed model has traffic")

    def history(self) -> tuple[TrafficChange, ...]:
        """The changes of the traffic."""
        return self.state().history

    def record(self, by: Origin) -> None:
        """Adds the current traffic to the history, after a deployment by another step."""
        state = self.state()
        if state.history and state.history[-1].traffic == state.traffic and state.history[-1].who:
            return
        previous = state.previous
        if len(state.traffic) == 1:
            self.write(state.switched(state.live, "deploy", by, previous=previous), state)

    def _all_to(self, state: EndpointState, version: str, action: Action, by: Origin, report: Progress) -> str:
        self.split({version: 100}, report)
        if state.live != version or dict(state.traffic) != {version: 100} or state.canary is not None:
            previous = None if action == "rollback" else state.live
            self.write(state.switched(version, action, by, previous=previous), state)
        return f"{version} has all traffic of {self._name}"

    def _service(self) -> Any:
        from google.cloud import aiplatform

        return aiplatform.Endpoint(self._name)

    def _deployed(self) -> _Deployed:
        with errors.translate_errors("Vertex AI", self._name, ROLE):
            endpoint = self._service()
            try:
                models = endpoint.list_models()
            except api.NotFound as error:
                raise UsageError("the endpoint does not exist", where=self._name) from error
            split = dict(endpoint.traffic_split)
            url = predict_url(endpoint)
        entries = {one.model.partition("@")[0] for one in models}
        entry = self._registry or (next(iter(entries)) if len(entries) == 1 else "")
        if not entry:
            raise UsageError(
                "the registry of the endpoint is not known" if models else "the endpoint serves no version",
                where=self._name,
                expected="deployed versions of one model, or --registry projects/P/locations/L/models/ID",
                received=", ".join(sorted(entries)) or "no deployed model",
            )
        numbers = {one.number: one.version for one in uploaded(entry)}

        def ours(one: Any) -> bool:
            return bool(one.model.partition("@")[0] == entry)

        def order(one: Any) -> tuple[int, int, str]:
            # Not by time: deploying a version again does not make it newer.
            return int(one.model_version_id or 0) if ours(one) else 0, int(split.get(one.id, 0)), one.id

        ids: dict[str, str] = {}
        traffic: dict[str, int] = {}
        for one in sorted(models, key=order):
            number = str(one.model_version_id)
            version = numbers.get(number, f"number-{number}") if ours(one) else f"other-{one.id}"
            ids[version] = one.id
            traffic[version] = traffic.get(version, 0) + int(split.get(one.id, 0))
        return _Deployed(ids, traffic, entry, url)

    def _uri(self, entry: str) -> str:
        folder = folder_of(uploaded(entry))
        if not folder:
            raise DataError(
                "no version of the model has a record, which names the folder of its registry",
                where=entry,
                fix="Register a version with this release of headrace",
            )
        return storage.join(folder, FOLDER, f"{self._name.rpartition('/')[2]}.json")
