"""Canaries of KServe: canaryTrafficPercent in the Serverless mode, spec.canary in the Standard mode (0.20 or later)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import UsageError

# Fields that a canary of the Standard mode must not have, because its number of replicas is fixed.
_NOT_OF_A_CANARY = ("maxReplicas", "scaleTarget", "scaleMetric")


def canary_name(version: str) -> str:
    """The name of a version's predictor: lower-case letters, digits and -, starting with a letter."""
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in version.lower())
    return f"v-{text}".rstrip("-")[:40]


def canary_entry(predictor: Mapping[str, Any], version: str, percent: int) -> dict[str, Any]:
    """An entry of spec.canary.

    Args:
        predictor: predictor of the version, in the form for all traffic.
        version: version of the Model.
        percent: percentage of the requests, 0 to 99.
    """
    mine = {name: value for name, value in predictor.items() if name not in _NOT_OF_A_CANARY}
    # KServe rejects more replicas than the stable version has.
    return {
        "predictor": {**mine, "name": canary_name(version), "minReplicas": min(1, mine.get("minReplicas", 1))},
        "trafficPercent": percent,
    }


def first(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest that creates an endpoint, whose first version gets all traffic."""
    spec = wanted["spec"]
    if "predictor" in spec:
        return dict(wanted)
    predictor = {name: value for name, value in spec["canary"][0]["predictor"].items() if name != "name"}
    return {**wanted, "spec": {"predictor": predictor}}


def patch(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch for an existing endpoint; null removes fields of an earlier canary.

    A canary of the Standard mode does not change the stable predictor.
    """
    spec = wanted["spec"]
    if "predictor" not in spec:
        return {**wanted, "spec": {"canary": spec["canary"]}}
    predictor = {"canaryTrafficPercent": None, **spec["predictor"]}
    return {**wanted, "spec": {"predictor": predictor, "canary": None}}


def check_kept(wanted: Mapping[str, Any], applied: Mapping[str, Any], where: str) -> None:
    """Checks that the cluster stored spec.canary. KServe before 0.20 does not know the field, and drops it.

    Args:
        wanted: the manifest.
        applied: the existing object, as returned by the cluster after the patch.
        where: the object, for errors.

    Raises:
        UsageError: the field was dropped; no traffic changed.
    """
    if "canary" in wanted["spec"] and not applied.get("spec", {}).get("canary"):
        raise no_canary(where)


def no_canary(where: str) -> UsageError:
    """The error of a canary of the Standard mode in a cluster without spec.canary."""
    return UsageError(
        "the cluster's KServe has no spec.canary",
        where=where,
        expected="KServe 0.20 or later, or the Serverless mode",
        fix='Deploy with traffic = 100, or use mode = "Serverless"',
    )


def renamed(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with another name for a canary whose name the stable predictor has since an earlier promotion.

    Args:
        wanted: the manifest.
        held: the existing InferenceService.
    """
    taken = held.get("spec", {}).get("predictor", {}).get("name")
    entries = [
        {**one, "predictor": {**one["predictor"], "name": f"{one['predictor']['name'][:38]}-2"}}
        if one["predictor"]["name"] == taken
        else one
        for one in wanted["spec"].get("canary", [])
    ]
    return {**wanted, "spec": {**wanted["spec"], "canary": entries}} if entries else dict(wanted)
