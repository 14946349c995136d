"""Lint rules for all platforms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.core.text import listed
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.spec import Spec

# Python that imports headrace or runs a module of it, and an installation of it when the task starts.
_IMPORTS = re.compile(r"^\s*(from|import) headrace\b|^-m\nheadrace\.", re.MULTILINE)
_INSTALLS = re.compile(r"pip install[^\n;&|]*\bheadrace\b")
# Images that are known to be without headrace: kfp's default and others of Docker's library, and Google's own.
_WITHOUT = re.compile(
    r"(docker\.io/)?(library/)?(python|pypy|alpine|busybox|debian|ubuntu)(:|@|\Z)"
    r"|(docker\.io/)?(apache/beam|continuumio/|jupyter/|nvidia/|pytorch/|tensorflow/)"
    r"|([a-z]+-)?docker\.pkg\.dev/(vertex-ai|deeplearning-platform-release)/"
    r"|([a-z]+\.)?gcr\.io/(cloud-aiplatform|cloud-dataflow|deeplearning-platform-release|google-appengine|ml-pipeline)/"
)


def check_images(spec: Spec) -> Iterator[Finding]:
    """Tasks of headrace on images that cannot hold it."""
    for name, container in spec.containers():
        image = str(container.get("image", ""))
        if _WITHOUT.match(image) and _needs_headrace(container):
            yield Finding("A002", name, image)
    for where, container in _workers(spec):
        image = str(container.get("image_uri", ""))
        if _WITHOUT.match(image) and _needs_headrace(container):
            yield Finding("A002", where, image)


def _needs_headrace(container: Mapping[str, Any]) -> bool:
    # The containers of a custom job's workers are an input's value, of any type.
    parts = [container.get("command"), container.get("args")]
    text = "\n".join(str(word) for part in parts if isinstance(part, list) for word in part)
    return bool(_IMPORTS.search(text)) and not _INSTALLS.search(text)


def check_tags(spec: Spec) -> Iterator[Finding]:
    """Finds images without a digest, which may change: one finding for all of a file."""
    tagged: list[tuple[str, str]] = []
    for name, container in spec.containers():
        image = str(container.get("image", ""))
        if "{{$" not in image and "@sha256:" not in image:
            tagged.append((name, image or "no image"))
    for where, container in _workers(spec):
        image = str(container.get("image_uri", ""))
        if image and "{{$" not in image and "@sha256:" not in image:
            tagged.append((where, image))
    if tagged:
        yield Finding("A001", *(listed(sorted(set(texts))) for texts in zip(*tagged, strict=True)))


def _workers(spec: Spec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and container of each worker pool of a custom job."""
    for task in spec.tasks():
        pools = task.inputs().get("worker_pool_specs")
        for number, pool in enumerate(pools if isinstance(pools, list) else []):
            container = pool.get("container_spec") if isinstance(pool, dict) else None
            if isinstance(container, dict):
                yield f"{task.where}.worker_pool_specs[{number}]", container
