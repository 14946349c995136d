"""Lint rules for self-hosted Kubeflow Pipelines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.spec import Spec, SpecTask

_SCHEMA = "2.1.0"
_GOOGLE = re.compile(r"\{\{\$\.(pipeline_google_cloud_[a-z_]+)\}\}")
_LAUNCHER = "google_cloud_pipeline_components.container"
_MOST_PARAMETER_CHARACTERS = 10_000
# Of etcd's 1.5 MiB: the templates of the tasks, and their status during the run, come on top.
_MANY_BYTES = 1_000_000
_POLICIES = ("Always", "IfNotPresent", "Never")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")


def check(spec: Spec) -> Iterator[Finding]:
    """Yields all findings, in no particular order."""
    if not spec.name:
        yield Finding("K011", "pipelineInfo.name", "''")
    if not spec.pipeline.get("root"):
        yield Finding("K011", "root", "nothing")
    schema = str(spec.pipeline.get("schemaVersion", ""))
    if schema != _SCHEMA:
        yield Finding("K012", "schemaVersion", repr(schema))
    yield from _sizes(spec)
    for where, uri in spec.imported():
        if "://" not in uri:
            yield Finding("K013", where, repr(uri))
    for name, container in spec.containers():
        yield from _container(name, container, spec.kubernetes().get(name, {}))
    for task in spec.tasks():
        yield from _task(spec, task)
    for name, settings in spec.kubernetes().items():
        if name not in spec.executors():
            yield Finding("K004", f"platforms.kubernetes, {name}", "the executor does not exist")
        yield from _pod(f"platforms.kubernetes, {name}", settings)


def _sizes(spec: Spec) -> Iterator[Finding]:
    """Checks the default parameters of a run, and the part of its object in Kubernetes that the spec has."""
    declared = spec.pipeline.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    defaults = {name: one["defaultValue"] for name, one in declared.items() if "defaultValue" in one}
    characters = len(json.dumps(defaults, ensure_ascii=False))
    if characters > _MOST_PARAMETER_CHARACTERS:
        longest = max(defaults, key=lambda name: len(json.dumps(defaults[name], ensure_ascii=False)))
        yield Finding("K015", "root.inputDefinitions.parameters", f"{characters:,} characters, most of {longest!r}")
    size = len(json.dumps(spec.pipeline, ensure_ascii=False).encode())
    if size > _MANY_BYTES:
        yield Finding("K016", "the file", f"{size / 1e6:.1f} MB, {sum(1 for _ in spec.tasks())} tasks")


def _container(name: str, container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[Finding]:
    resources = container.get("resources", {})
    accelerator = resources.get("accelerator", {})
    kind = str(accelerator.get("resourceType") or accelerator.get("type") or "")
    if kind and "{{$" not in kind and "/" not in kind:
        yield Finding("K001", name, kind)
    for what in ("cpu", "memory"):
        request, limit = resources.get(f"{what}Request"), resources.get(f"{what}Limit")
        if isinstance(request, int | float) and isinstance(limit, int | float) and request > limit > 0:
            yield Finding("K005", name, f"{what} request {request:g} above the limit {limit:g}")
    if any(_LAUNCHER in str(part) for part in container.get("command", [])) and not (
        pod.get("secretAsVolume") or pod.get("secretAsEnv")
    ):
        launcher = next(str(part) for part in container["command"] if _LAUNCHER in str(part))
        yield Finding("K003", name, launcher)


def _uncompiled(spec: Spec, task: SpecTask) -> Iterator[Finding]:
    """Finds what the backend's compiler of workflows does not have."""
    label = str(task.component.get("executorLabel", ""))
    executor = spec.executors().get(label, {})
    faults = {
        "a loop over artifacts": "artifactIterator" in task.spec,
        f"component {task.component_name!r} does not exist": not task.component,
        f"executor {label!r} does not exist": bool(label) and label not in spec.executors(),
        "an importer under a condition": "importer" in executor and "condition" in task.spec.get("triggerPolicy", {}),
        "a resolver": "resolver" in executor,
        "a custom job of Vertex AI": "customJob" in executor,
    }
    for fault in (text for text, found in faults.items() if found):
        yield Finding("K018", task.where, fault)


def _task(spec: Spec, task: SpecTask) -> Iterator[Finding]:
    yield from _uncompiled(spec, task)
    retries = task.spec.get("retryPolicy", {}).get("maxRetryCount")
    if retries and task.in_loop:
        yield Finding("K008", task.where, f"{retries} retries")
    text = json.dumps([task.inputs(), spec.executor_of(task).get("args", [])])
    for placeholder in sorted(set(_GOOGLE.findall(text))):
        yield Finding("K002", task.where, placeholder)


def _pod(where: str, settings: Mapping[str, Any]) -> Iterator[Finding]:
    policy = settings.get("imagePullPolicy")
    if policy is not None and policy not in _POLICIES:
        yield Finding("K007", where, str(policy))
    for toleration in settings.get("tolerations", []):
        exists = toleration.get("operator") == "Exists"
        if "tolerationJson" in toleration:
            continue
        if (not toleration.get("key") and not exists) or (exists and toleration.get("value")):
            yield Finding("K006", where, json.dumps(toleration, sort_keys=True))
    mounts = [
        str(mount.get("mountPath"))
        for kind in ("pvcMount", "secretAsVolume", "configMapAsVolume", "emptyDirMounts", "genericEphemeralVolume")
        for mount in settings.get(kind, [])
    ]
    for path, times in Counter(mounts).items():
        if times > 1:
            yield Finding("K009", where, f"{path}, {times} times")
    labels = {**settings.get("podMetadata", {}).get("labels", {}), **settings.get("nodeSelector", {}).get("labels", {})}
    for key, value in labels.items():
        if not (_LABEL_KEY.match(key) and _LABEL_VALUE.match(str(value))):
            yield Finding("K010", where, f"{key}={value}")
