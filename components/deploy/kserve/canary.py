"""Canaries of KServe: canaryTrafficPercent in the Serverless mode, spec.canary in the Standard mode from 0.20 on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import UsageError

# What a canary of the Standard mode must not have: it has fixed replicas.
_NOT_OF_A_CANARY = ("maxReplicas", "scaleTarget", "scaleMetric")


def canary_name(version: str) -> str:
    """The name of a version's predictor: lower-case letters, digits and -, starting with a letter."""
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in version.lower())
    return f"v-{text}".rstrip("-")[:40]


def canary_entry(predictor: Mapping[str, Any], version: str, percent: int) -> dict[str, Any]:
    """An entry of spec.canary.

    Args:
        predictor: of the version, as it would be with all traffic.
        version: of the model.
        percent: of the requests, 0 to 99.
    """
    mine = {name: value for name, value in predictor.items() if name not in _NOT_OF_A_CANARY}
    # KServe refuses more replicas than the stable version has.
    return {
        "predictor": {**mine, "name": canary_name(version), "minReplicas": min(1, mine.get("minReplicas", 1))},
        "trafficPercent": percent,
    }


def first(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest for an endpoint that does not exist: its first version has all traffic."""
    spec = wanted["spec"]
    if "predictor" in spec:
        return dict(wanted)
    predictor = {name: value for name, value in spec["canary"][0]["predictor"].items() if name != "name"}
    return {**wanted, "spec": {"predictor": predictor}}


def patch(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch for an endpoint that exists; null removes fields of an earlier canary.

    A canary of the Standard mode leaves the stable predictor as it is.
    """
    spec = wanted["spec"]
    if "predictor" not in spec:
        return {**wanted, "spec": {"canary": spec["canary"]}}
    predictor = {"canaryTrafficPercent": None, **spec["predictor"]}
    return {**wanted, "spec": {"predictor": predictor, "canary": None}}


def check_kept(wanted: Mapping[str, Any], applied: Mapping[str, Any], where: str) -> None:
    """Refuses a cluster that dropped spec.canary: before KServe 0.20 it is an unknown field, which is pruned.

    Args:
        wanted: the manifest.
        applied: an object that was there before, as the cluster returned it after the patch.
        where: the object, for messages.

    Raises:
        UsageError: it was dropped; no traffic has changed.
    """
    if "canary" in wanted["spec"] and not applied.get("spec", {}).get("canary"):
        raise no_canary(where)


def no_canary(where: str) -> UsageError:
    """The error of a canary of the Standard mode at a cluster without spec.canary."""
    return UsageError(
        "the cluster's KServe has no spec.canary",
        where=where,
        expected="KServe 0.20 or later, or the Serverless mode",
        fix='Deploy with traffic = 100, or use mode = "Serverless"',
    )


def renamed(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with another name of the canary where the stable predictor has it, of an earlier promotion.

    Args:
        wanted: the manifest.
        held: the InferenceService that exists.
    """
    taken = held.get("spec", {}).get("predictor", {}).get("name")
    entries = [
        {**one, "predictor": {**one["predictor"], "name": f"{one['predictor']['name'][:38]}-2"}}
        if one["predictor"]["name"] == taken
        else one
        for one in wanted["spec"].get("canary", [])
    ]
    return {**wanted, "spec": {**wanted["spec"], "canary": entries}} if entries else dict(wanted)
