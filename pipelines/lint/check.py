"""Lint entry point: checks a compiled spec for a platform."""

from __future__ import annotations

from headrace.pipelines.lint import backend as backends
from headrace.pipelines.lint import kubeflow, vertex
from headrace.pipelines.lint.common import check_images, check_tags
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.parse import parse
from headrace.pipelines.lint.spec import Spec, read_spec

PLATFORMS = {"vertex": vertex.check, "kubeflow": kubeflow.check}


def lint(path: str, platform: str, *, backend: str = "") -> list[Finding]:
    """Finds what a platform would reject or ignore; rejections come first.

    Args:
        path: a compiled spec.
        platform: one of PLATFORMS.
        backend: version of the Kubeflow Pipelines backend, such as 2.15; "" for the newest.

    Raises:
        UsageError: the file is not a compiled spec, or the version is not one.
    """
    return lint_spec(read_spec(path), platform, backend=backend)


def lint_spec(spec: Spec, platform: str, *, backend: str = "") -> list[Finding]:
    """As `lint`, of a spec that was read. A spec that the platforms' parsers refuse is checked no further."""
    version = backends.version_of(backend) if backend else None
    parsed, parsing = parse(spec, platform)
    if any(one.refused for one in parsing):
        return sorted(one for one in parsing if one.refused)
    found = {*PLATFORMS[platform](parsed), *check_images(parsed), *check_tags(parsed)}
    if version is None:
        found.update(parsing)
    else:
        found.update(backends.check(parsed, version), backends.check_newer(parsing, version))
    return sorted(found, key=lambda finding: (not finding.refused, finding))


def least_backend(path: str) -> str:
    """The minimum version of the Kubeflow Pipelines backend for a spec, with the reason; "" if any version 2 runs it.

    Raises:
        UsageError: the file is not a compiled spec.
    """
    parsed, _ = parse(read_spec(path), "kubeflow")
    return backends.least(parsed)
