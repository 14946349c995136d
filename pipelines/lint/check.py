"""Lint entry point: checks a compiled spec for a platform."""

from __future__ import annotations

from headrace.pipelines.lint import kubeflow, vertex
from headrace.pipelines.lint.common import check_images, check_tags
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.spec import read_spec

PLATFORMS = {"vertex": vertex.check, "kubeflow": kubeflow.check}


def lint(path: str, platform: str) -> list[Finding]:
    """Finds what a platform would reject or ignore; rejections come first.

    Args:
        path: a compiled spec.
        platform: one of PLATFORMS.

    Raises:
        UsageError: the file is not a compiled spec.
    """
    spec = read_spec(path)
    found = {*PLATFORMS[platform](spec), *check_images(spec), *check_tags(spec)}
    return sorted(found, key=lambda finding: (not finding.refused, finding))
