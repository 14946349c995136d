"""Backend version: what a spec needs, against what the cluster's API says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core.errors import UsageError
from headrace.pipelines.lint import backend
from headrace.pipelines.lint.parse import parse
from headrace.pipelines.lint.spec import spec_of

_HEALTH = "/apis/v2beta1/healthz"
# An image that somebody built has the tag of their choice, or none.
_RELEASE = re.compile(r"v?[0-9]+\.[0-9]+(\.[0-9]+)?(-[0-9A-Za-z.]+)?\Z")


def check_backend(api_client: Any, documents: Sequence[Mapping[str, Any]]) -> None:
    """Refuses a spec that the cluster's backend does not take; the version is asked only where one is needed.

    Args:
        api_client: of kfp_server_api.
        documents: of the compiled spec.

    Raises:
        UsageError: the backend is older than the spec needs. One whose version is not known is not refused.
        kfp_server_api.ApiException: the server refused the request.
    """
    parsed, _ = parse(spec_of(documents), "kubeflow")
    needed = backend.needs(parsed)
    version = _version(api_client) if needed else ""
    if not version:
        return
    too_new = [need for need in needed if need.version > backend.version_of(version)]
    if too_new:
        raise UsageError(
            "the backend is older than the pipeline needs",
            where=too_new[-1].where,
            expected=f"Kubeflow Pipelines {backend.written(too_new[-1].version)} or newer, for {too_new[-1].what}",
            received=version,
            fix="Update Kubeflow Pipelines. `headrace lint --platform kubeflow --backend VERSION` lists what needs it",
        )


def _version(api_client: Any) -> str:
    """The release that the API server reports, such as 2.14.3; "" where it reports none."""
    # kfp_server_api leaves out what its model of the answer does not have.
    answer = api_client.call_api(_HEALTH, "GET", auth_settings=["Bearer"], _preload_content=False)
    try:
        health = json.loads(answer.data)
    except ValueError:
        return ""
    tag = str(health.get("tag_name", "")) if isinstance(health, dict) else ""
    found = _RELEASE.match(tag)
    return tag.partition("-")[0] if found else ""
