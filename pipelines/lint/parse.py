"""Protocol buffers of a compiled spec: what the platforms' parsers refuse is found, and the rest has known types."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import metadata
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
        The spec, in which each field has the type of its message and null is left out, and what a parser refuses, or
        may refuse. Where something is refused, no other rule can be checked.

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
            executors[name] = _settings(one, message, f"platforms.kubernetes, {name}", found)
    return dataclasses.replace(spec, pipeline=pipeline, platform=settings), found


def settings_version() -> str:
    """Version of the installed messages of the settings of pods, as 2.17."""
    return ".".join(metadata.version("kfp-kubernetes").split(".")[:2])


def _settings(value: Mapping[str, Any], message: Any, where: str, found: list[Finding]) -> dict[str, Any]:
    """Settings of a pod; a field that only a newer kfp-kubernetes than the installed one may have is left out."""
    refused: list[Finding] = []
    strict = _parsed(value, message(), where, refused)
    if not refused:
        return strict
    known: list[Finding] = []
    result = _parsed(value, message(), where, known, unknown=True)
    found += known or [
        Finding("K017", where, f"{one.received} (kfp-kubernetes {settings_version()})") for one in refused
    ]
    return result


def _executor_config() -> Any:
    try:
        from kfp.kubernetes import kubernetes_executor_config_pb2
    except ImportError as error:
        raise UsageError(
            "the spec has settings of kfp-kubernetes, which is not installed",
            where="platforms.kubernetes",
            expected="the package kfp-kubernetes",
            received="no package",
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
        # The list of fields that protobuf adds is longer than all else.
        said = " ".join(str(error).split()).partition(" Available Fields")[0]
        found.append(Finding("A003", where, said or type(error).__name__))
        return {}
    return result
