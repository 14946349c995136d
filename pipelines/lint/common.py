"""What is wrong on any platform."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.spec import Spec


def check_tags(spec: Spec) -> Iterator[Finding]:
    """Images that may be others tomorrow."""
    for name, container in spec.containers():
        image = str(container.get("image", ""))
        if "@sha256:" not in image:
            yield Finding("A001", name, image or "no image")
    for task in spec.tasks():
        pools = task.inputs().get("worker_pool_specs")
        for number, pool in enumerate(pools if isinstance(pools, list) else []):
            container = pool.get("container_spec", {}) if isinstance(pool, dict) else {}
            image = str(container.get("image_uri", ""))
            if image and "{{$" not in image and "@sha256:" not in image:
                yield Finding("A001", f"{task.where}.worker_pool_specs[{number}]", image)
