"""Version of the Kubeflow Pipelines backend that a spec needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace.core.errors import UsageError
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.parse import settings_version
from headrace.pipelines.lint.spec import Spec

_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)(\.[0-9]+)?\Z")
# Of a pod's settings that name a secret, config map or claim by a parameter, and the key of the parameter.
_NAMES = {
    "secretAsEnv": "secretNameParameter",
    "secretAsVolume": "secretNameParameter",
    "configMapAsEnv": "configMapNameParameter",
    "configMapAsVolume": "configMapNameParameter",
    "pvcMount": "pvcNameParameter",
}


@dataclass(frozen=True, order=True)
class BackendRequirement:
    """What only newer backends take.

    Attributes:
        version: the least version, such as (2, 14).
        where: the task or the executor.
        what: in words.
    """

    version: tuple[int, int]
    where: str
    what: str


def needs(spec: Spec) -> list[BackendRequirement]:
    """What a parsed spec has that only newer backends take, the newest last."""
    return sorted({*_final_status(spec), *_settings(spec)})


def least(spec: Spec) -> str:
    """The least version of the backend that a parsed spec needs, with the reason; "" if any version 2 does."""
    found = needs(spec)
    return f"{written(found[-1].version)} or newer ({found[-1].what})" if found else ""


def version_of(text: str) -> tuple[int, int]:
    """Reads a version such as 2.15 or 2.15.1; the patch makes no difference.

    Raises:
        UsageError: it is not a version.
    """
    found = _VERSION.match(text)
    if found is None:
        raise UsageError(
            "the backend's version is not valid", where="--backend", expected="such as 2.15", received=text
        )
    return int(found[1]), int(found[2])


def written(version: tuple[int, int]) -> str:
    """A version as text."""
    return ".".join(map(str, version))


def check(spec: Spec, version: tuple[int, int]) -> Iterator[Finding]:
    """Finds what a backend of a version does not take."""
    for need in needs(spec):
        if need.version > version:
            received = f"{need.what} needs {written(need.version)}, the backend is {written(version)}"
            yield Finding("K014", need.where, received)


def check_newer(found: Iterable[Finding], version: tuple[int, int]) -> Iterator[Finding]:
    """Refuses fields that the installed messages do not have, for a backend that has these messages or older ones.

    Args:
        found: of parsing, with the version of the messages.
        version: of the backend.
    """
    known = version_of(settings_version())
    for one in found:
        yield Finding("K014", one.where, one.received) if version <= known else one


def _final_status(spec: Spec) -> Iterator[BackendRequirement]:
    for task in spec.tasks():
        parameters = task.spec.get("inputs", {}).get("parameters", {}).values()
        if any("taskFinalStatus" in one for one in parameters):
            yield BackendRequirement((2, 14), task.where, "a task that is given the final status")


def _settings(spec: Spec) -> Iterator[BackendRequirement]:
    for name, settings in spec.kubernetes().items():
        where = f"platforms.kubernetes, {name}"
        # The driver refuses the field itself, whatever its value is: kfp-kubernetes writes it since 2.15.
        if any("optional" in one for one in settings.get("secretAsEnv", [])):
            yield BackendRequirement((2, 15), where, "a secret with `optional`")
        if any(key in one for kind, key in _NAMES.items() for one in settings.get(kind, [])):
            yield BackendRequirement((2, 5), where, "a secret, config map or claim whose name is a parameter")
