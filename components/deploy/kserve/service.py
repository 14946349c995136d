"""InferenceServices of a cluster: interface of the client, the wait until one is ready, and translation of errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress, silent

GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
MODE = "serving.kserve.io/deploymentMode"
# The modes, by their names since KServe 0.16 and before it.
STANDARD, KNATIVE = "Standard", "Knative"
_OLD_NAMES = {"RawDeployment": STANDARD, "Serverless": KNATIVE}
MODES = (*_OLD_NAMES, *_OLD_NAMES.values())
# The field of canaries of the Standard mode.
CANARY = "canary"
_SECONDS_BETWEEN_LOOKS = 5.0
# Timeout per request to the API server, in seconds.
REQUEST_TIMEOUT_S = 60.0


def mode_of(name: str) -> str:
    """The name since KServe 0.16 of a mode, which clusters and options may also name by its old name."""
    return _OLD_NAMES.get(name, name)


def old_name_of(mode: str) -> str:
    """The name in KServe 0.15 and earlier of a mode from `mode_of`."""
    return next((old for old, new in _OLD_NAMES.items() if new == mode), mode)


class Services(Protocol):
    """Client of a cluster's InferenceServices, with methods of `kubernetes.client.CustomObjectsApi`."""

    def get_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any: ...

    def create_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, body: Any
    ) -> Any: ...

    def patch_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any
    ) -> Any: ...


class ClusterServices:
    """Client of a cluster with a timeout, because `kubernetes.client` waits forever for an API server without response.

    Args:
        api: a `kubernetes.client.CustomObjectsApi`.
        timeout_s: timeout per request, in seconds.
    """

    def __init__(self, api: Any, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._api = api
        # For connecting and for reading: the client ignores a single number that is not an int.
        self._timeout = (timeout_s, timeout_s)

    def get_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any:
        """As of the client."""
        address = (group, version, namespace, plural, name)
        return self._api.get_namespaced_custom_object(*address, _request_timeout=self._timeout)

    def create_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, body: Any) -> Any:
        """As of the client."""
        address = (group, version, namespace, plural, body)
        return self._api.create_namespaced_custom_object(*address, _request_timeout=self._timeout)

    def patch_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any
    ) -> Any:
        """As of the client."""
        address = (group, version, namespace, plural, name, body)
        return self._api.patch_namespaced_custom_object(*address, _request_timeout=self._timeout)


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
    """Waits until an InferenceService serves the applied manifest.

    Args:
        services: client of the cluster.
        namespace, name: namespace and name of the InferenceService.
        applied: the object, as returned by the cluster.
        timeout_s: maximum time, in seconds.
        report: receives progress.
        clock, sleep: clock and wait, in seconds.

    Returns:
        URL of the InferenceService.

    Raises:
        UsageError: the cluster runs it in another mode than the requested one.
        PlatformError: the InferenceService was not ready in time.
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
    """Refuses a cluster that does not know the requested mode, and silently uses its default."""
    wanted = str(found["metadata"].get("annotations", {}).get(MODE, ""))
    actual = str(found.get("status", {}).get("deploymentMode", ""))
    if wanted and actual and mode_of(wanted) != mode_of(actual):
        raise UsageError(
            "the cluster runs the InferenceService in another mode",
            where=where,
            expected=wanted,
            received=actual,
            fix='For KServe 0.15 and older name mode = "RawDeployment" instead of "Standard"',
        )


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Translates errors of the cluster's client.

    Args:
        where: the object, for errors.

    Raises:
        UsageError: the cluster refused the request.
        PlatformError: the cluster failed, or did not respond.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise refused(error, where) from error
    except HTTPError as error:
        what = "the cluster failed or did not respond"
        raise PlatformError(what, where=where, received=str(error), fix="Try again") from error


def refused(error: Any, where: str) -> UsageError | PlatformError:
    """The error for an HTTP status of the cluster."""
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
