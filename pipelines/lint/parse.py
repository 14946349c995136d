"""Protocol buffers of a compiled spec: what the platforms' parsers refuse is found, and the rest has known types."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import UsageError
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.spec import Spec


def parse(spec: Spec, platform: str) -> tuple[Spec, list[Finding]]:
    """Parses a spec as the platforms do.

    Args:
        spec: as it was read.
        platform: vertex or kubeflow; Vertex AI does not read the settings of kfp-kubernetes.

    Returns:
        The spec, in which each field has the type of its message and null is left out, and what a parser refuses.
        Where something is refused, no other rule can be checked.

    Raises:
        UsageError: kfp-kubernetes, which has the messages of its settings, is not installed.
    """
    from kfp.pipeline_spec import pipeline_spec_pb2 as messages

    found: list[Finding] = []
    pipeline = _parsed(spec.pipeline, messages.PipelineSpec(), "the spec", found)
    deployment = pipeline.get("deploymentSpec", {})
    # The backend ignores unknown fields within deploymentSpec, but not there values of another type.
    pipeline["deploymentSpec"] = _parsed(
        deployment, messages.PipelineDeploymentConfig(), "deploymentSpec", found, unknown=True
    )
    settings = _parsed({"platforms": spec.platform}, messages.PlatformSpec(), "platforms", found).get("platforms", {})
    executors = settings.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    if platform == "kubeflow" and executors:
        message = _executor_config()
        for name, one in executors.items():
            executors[name] = _parsed(one, message(), f"platforms.kubernetes, {name}", found)
    return dataclasses.replace(spec, pipeline=pipeline, platform=settings), found


def _executor_config() -> Any:
    try:
        from kfp.kubernetes import kubernetes_executor_config_pb2
    except ImportError as error:
        raise UsageError(
            "the spec has settings of kfp-kubernetes, which is not installed",
            where="platforms.kubernetes",
            expected="the package kfp-kubernetes",
            received="no such package",
            fix="pip install 'headrace[kubeflow]'",
        ) from error
    return kubernetes_executor_config_pb2.KubernetesExecutorConfig


def _parsed(
    value: Mapping[str, Any], message: Any, where: str, found: list[Finding], *, unknown: bool = False
) -> dict[str, Any]:
    """The message as JSON values; empty where the parser refuses it, which is then added to `found`."""
    from google.protobuf import json_format

    try:
        # YAML has dates and keys of other types, which JSON, the form that the platforms parse, has as text;
        # it has no infinity.
        plain = json.loads(json.dumps(value, default=str, allow_nan=False))
        json_format.ParseDict(plain, message, ignore_unknown_fields=unknown)
        result: dict[str, Any] = json_format.MessageToDict(message)
    except (json_format.Error, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        found.append(Finding("A003", where, " ".join(str(error).split()) or type(error).__name__))
        return {}
    return result
