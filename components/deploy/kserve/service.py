"""InferenceServices of a cluster: the client's interface, waiting until one serves, and the errors of the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress, silent

GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
MODE = "serving.kserve.io/deploymentMode"
SERVERLESS = "Serverless"
# The names of the modes before and after KServe 0.16.
_SAME_MODE = {"RawDeployment": "Standard", "Serverless": "Knative"}
_SECONDS_BETWEEN_LOOKS = 5.0


class Services(Protocol):
    """Client of a cluster's InferenceServices, with methods of `kubernetes.client.CustomObjectsApi`."""

    def get_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any: ...

    def create_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, body: Any
    ) -> Any: ...

    def patch_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any
    ) -> Any: ...


def wait(
    services: Services,
    namespace: str,
    name: str,
    applied: Mapping[str, Any],
    *,
    timeout_s: float,
    report: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Waits until an InferenceService serves what was applied.

    Args:
        services: of the cluster.
        namespace, name: of the InferenceService.
        applied: the object as the cluster returned it.
        timeout_s: maximum time, in seconds.
        report: receives progress.
        clock, sleep: of time, in seconds.

    Returns:
        Its URL.

    Raises:
        UsageError: the cluster runs it in another mode than was requested.
        PlatformError: it was not ready in time.
    """
    where = f"InferenceService {namespace}/{name}"
    generation = applied["metadata"].get("generation", 0)
    ends = clock() + timeout_s
    while True:
        found = services.get_namespaced_custom_object(GROUP, API_VERSION, namespace, PLURAL, name)
        status = found.get("status", {})
        ready: dict[str, str] = next((c for c in status.get("conditions", []) if c.get("type") == "Ready"), {})
        current = status.get("observedGeneration", generation) >= generation
        if current:
            _check_mode(found, where)
        if ready.get("status") == "True" and current and _canaries_ready(found):
            return str(status.get("url", ""))
        if clock() > ends:
            raise PlatformError(
                f"the InferenceService was not ready within {timeout_s:.0f} s",
                where=where,
                received=ready.get("message") or ready.get("reason") or "no condition",
                fix=f"kubectl describe inferenceservice {name} --namespace {namespace}",
            )
        report(f"waiting for {where}: {ready.get('reason') or 'no status yet'}")
        sleep(_SECONDS_BETWEEN_LOOKS)


def _canaries_ready(found: Mapping[str, Any]) -> bool:
    """Whether each entry of spec.canary is ready with its traffic."""
    statuses = {one["name"]: one for one in found.get("status", {}).get("canaryStatuses", [])}
    wanted = {one["predictor"]["name"]: one["trafficPercent"] for one in found["spec"].get("canary", [])}
    return all(
        statuses.get(name, {}).get("ready") and statuses[name]["trafficPercent"] == percent
        for name, percent in wanted.items()
    )


def _check_mode(found: Mapping[str, Any], where: str) -> None:
    """Refuses a cluster that does not know the requested mode: it falls to its default without a word."""
    wanted = str(found["metadata"].get("annotations", {}).get(MODE, ""))
    actual = str(found.get("status", {}).get("deploymentMode", ""))
    if wanted and actual and _SAME_MODE.get(wanted, wanted) != _SAME_MODE.get(actual, actual):
        raise UsageError(
            "the cluster runs the InferenceService in another mode",
            where=where,
            expected=wanted,
            received=actual,
            fix='For KServe 0.15 and older name mode = "RawDeployment" instead of "Standard"',
        )


def refused(error: Any, where: str) -> UsageError | PlatformError:
    received = f"{error.status} {error.reason}"
    if error.status == 404:
        return UsageError(
            "the cluster has no KServe, or the namespace does not exist",
            where=where,
            received=received,
            fix="Install KServe",
        )
    if error.status in (401, 403):
        return UsageError(
            "the pipeline's service account is not allowed to apply the InferenceService",
            where=where,
            received=received,
            fix=f"Give it a Role with get, create and patch on {PLURAL}.{GROUP}",
        )
    if error.status in (400, 422):
        return UsageError("KServe rejected the InferenceService", where=where, received=f"{received}: {error.body}")
    return PlatformError("the cluster failed or did not respond", where=where, received=received)
