"""Memory of an InferenceService: the content of its annotation, and the versions and traffic in its spec and status.

The revision of a version is the one that the status names, never an inferred one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.deploy.state import EndpointState, state_of
from headrace.core.errors import DataError, UsageError

MEMORY = "headrace.dev/endpoint"
_STORAGE = "STORAGE_URI"
# A registered Model is REGISTRY/versions/VERSION, on gs:// REGISTRY/versions/VERSION/DIGEST.
_PLACE = re.compile(r"(?P<registry>.*)/versions/(?P<version>[^/]+)(?:/[^/]+)?\Z")


@dataclass(frozen=True)
class Memory:
    """Content of the annotation.

    Attributes:
        state: the state that was written last; None if none was written.
        models: STORAGE_URI by version.
        revisions: version by Knative revision.
    """

    state: EndpointState | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)


def memory_of(found: Mapping[str, Any], where: str) -> Memory:
    """The content of the annotation of an InferenceService, updated from its spec and status.

    Raises:
        DataError: the annotation is damaged.
    """
    text = found["metadata"].get("annotations", {}).get(MEMORY)
    if text is None:
        return learned(found, Memory())
    try:
        content = json.loads(text)
        state = None if content["state"] is None else state_of(content["state"], where)
        return learned(found, Memory(state, dict(content["models"]), dict(content["revisions"])))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the annotation {MEMORY} is damaged", where=where, received=repr(error)) from error


def learned(found: Mapping[str, Any], memory: Memory) -> Memory:
    """The memory, updated from the object: the Models that it serves, and the revision of the latest one."""
    predictors = [found["spec"]["predictor"], *(one["predictor"] for one in found["spec"].get("canary", []))]
    models = {**memory.models, **{version_of(one): storage_of(one) for one in predictors if version_of(one)}}
    status = found.get("status", {})
    part = predictor_status(found)
    current = status.get("observedGeneration") == found["metadata"].get("generation")
    ready = part.get("latestReadyRevision")
    revisions = dict(memory.revisions)
    if current and ready and ready == part.get("latestCreatedRevision"):
        revisions[ready] = version_of(found["spec"]["predictor"])
    return Memory(memory.state, models, revisions)


def traffic_of(found: Mapping[str, Any], memory: Memory) -> dict[str, int]:
    """Percentage by version, from the status; deployed versions without traffic have 0."""
    status = found.get("status", {})
    targets = predictor_status(found).get("traffic", [])
    shares: dict[str, int] = {}
    if targets:
        for one in targets:
            version = memory.revisions.get(one.get("revisionName", ""), one.get("revisionName", ""))
            shares[version] = shares.get(version, 0) + int(one.get("percent") or 0)
        return shares
    versions = {one["predictor"]["name"]: version_of(one["predictor"]) for one in found["spec"].get("canary", [])}
    for one in status.get("canaryStatuses", []):
        if one["name"] in versions:
            shares[versions[one["name"]]] = int(one["trafficPercent"])
    stable = version_of(found["spec"]["predictor"])
    return {**shares, stable: 100 - sum(shares.values())}


def predictor_status(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The predictor's part of the status; empty before KServe has written one."""
    part: Mapping[str, Any] = found.get("status", {}).get("components", {}).get("predictor", {})
    return part


def shares_of(found: Mapping[str, Any], memory: Memory) -> dict[str, int]:
    """Percentage by version, of the versions with traffic."""
    return {version: percent for version, percent in traffic_of(found, memory).items() if percent}


def storage_of(predictor: Mapping[str, Any]) -> str:
    """The STORAGE_URI of a predictor's containers; "" if they have none."""
    containers = predictor.get("containers", [])
    variables = [one for container in containers for one in container.get("env", [])]
    return str(next((one.get("value", "") for one in variables if one.get("name") == _STORAGE), ""))


def version_of(predictor: Mapping[str, Any]) -> str:
    """The version in the path of a predictor's Model; "" if the Model is not in a registry."""
    found = _PLACE.match(storage_of(predictor))
    return "" if found is None else found["version"]


def with_storage(container: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A container with another Model in its STORAGE_URI, if it has one."""
    env = [{**one, "value": model} if one.get("name") == _STORAGE else dict(one) for one in container.get("env", [])]
    return {**container, "env": env}


def registry_in(predictor: Mapping[str, Any]) -> str:
    """The registry in the path of a predictor's Model; "" if the Model is not in a registry."""
    found = _PLACE.match(storage_of(predictor))
    return "" if found is None else found["registry"]


def canary_spec(found: Mapping[str, Any], memory: Memory, traffic: Mapping[str, int], where: str) -> Mapping[str, Any]:
    """The patch of the spec that gives a canary a percentage of the traffic, and the stable version the rest.

    KServe gives the rest to the version that it rolled out last. Therefore the status, or in the Standard mode the
    predictor, must name the stable version.

    Args:
        found: the InferenceService.
        memory: its memory.
        traffic: percentages of the stable version and of the canary.
        where: the endpoint, for errors.

    Raises:
        UsageError: the versions cannot run at the same time.
    """
    spec = found["spec"]
    entries = {version_of(one["predictor"]): one for one in spec.get("canary", [])}
    if spec.get("canary"):
        stable, canaries = version_of(spec["predictor"]), set(entries)
    else:
        rolled_out = predictor_status(found).get("latestRolledoutRevision", "")
        stable, canaries = memory.revisions.get(rolled_out, rolled_out), {version_of(spec["predictor"])} - {""}
    canary = next((version for version in traffic if version in canaries and version != stable), None)
    if canary is None or set(traffic) != {canary, stable}:
        raise UsageError(
            "the versions cannot run at the same time",
            where=where,
            expected=f"{' and '.join(traffic)}: one that has all traffic, and one that is deployed with 0 %",
            received=f"{stable or 'no version'} rolled out, {', '.join(canaries - {stable}) or 'none'} deployed",
            fix="Deploy the canary without traffic first",
        )
    if entries:
        percents = {version: traffic.get(version, 0) for version in entries}
        return {"canary": [{**one, "trafficPercent": percents[version]} for version, one in entries.items()]}
    return {"predictor": {"canaryTrafficPercent": traffic[canary]}}
