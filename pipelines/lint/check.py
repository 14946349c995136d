"""Lint entry point: checks a compiled spec for a platform."""

from __future__ import annotations

from headrace.pipelines.lint import kubeflow, vertex
from headrace.pipelines.lint.common import check_images, check_tags
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.parse import parse
from headrace.pipelines.lint.spec import Spec, read_spec

PLATFORMS = {"vertex": vertex.check, "kubeflow": kubeflow.check}


def lint(path: str, platform: str) -> list[Finding]:
    """Finds what a platform would reject or ignore; rejections come first.

    Args:
        path: a compiled spec.
        platform: one of PLATFORMS.

    Raises:
        UsageError: the file is not a compiled spec.
    """
    return lint_spec(read_spec(path), platform)


def lint_spec(spec: Spec, platform: str) -> list[Finding]:
    """As `lint`, of a spec that was read. A spec that the platforms' parsers refuse is checked no further."""
    parsed, refused = parse(spec, platform)
    if refused:
        return sorted(refused)
    found = {*PLATFORMS[platform](parsed), *check_images(parsed), *check_tags(parsed)}
    return sorted(found, key=lambda finding: (not finding.refused, finding))
