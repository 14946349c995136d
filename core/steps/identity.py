"""What each step's result depends on. Equal identities mean equal results, so a run can resume and be found again."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.model import version_of
from headrace.core.problem.file import ProblemFile
from headrace.core.steps.step import identity

# What computes results: pipelines only arrange it.
_PACKAGES = ("headrace.core", "headrace.components")
# Python, what is compiled from C, and rules and tables that are read as resources.
_SOURCE = frozenset({".py", ".c", ".h", ".json"})


def release() -> str:
    """The version of headrace that is installed: another one may compute another result.

    A development version stands for many states of the code, so a digest of the source is added to it.
    """
    version = metadata.version("headrace")
    return f"{version}-{_source_digest()}" if ".dev" in version else version


@functools.cache
def _source_digest() -> str:
    roots = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        roots += [Path(root) for root in (spec.submodule_search_locations or ())] if spec is not None else []
    return source_digest(roots)


def source_digest(roots: Iterable[Path]) -> str:
    """Digest of the source below some folders, in 8 hexadecimal digits: of each file its name and its content."""
    total = hashlib.sha256()
    for root in roots:
        for path in sorted(path for path in root.rglob("*") if path.suffix in _SOURCE):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()[:8]


def preprocess_identity(
    file: ProblemFile, data_version: str, baseline_version: str = "", csv: Sequence[str] = ()
) -> str:
    """Identity of the Examples made of one version of the data.

    Args:
        file: the Problem that they are for.
        data_version: fingerprint of the data.
        baseline_version: fingerprint of the statistics that drift was judged against, or "".
        csv: how CSV was read, as NAME=VALUE.
    """
    return identity(
        "preprocess",
        problem=file.problem.schema_digest,
        data=data_version,
        baseline=baseline_version,
        csv=list(csv),
        release=release(),
    )


def train_identity(file: ProblemFile, examples_identity: str, choices: Mapping[str, Any] | None = None) -> str:
    """Identity of a Model; it is the model's version too. `choices` are what was asked for beyond the Problem file."""
    return identity(
        "train", problem=file.training_digest, examples=examples_identity, release=release(), **(choices or {})
    )


def evaluate_identity(file: ProblemFile, examples_identity: str, model_version: str, champion: str) -> str:
    """Identity of an Evaluation; `champion` is a Model, or "" for none."""
    return identity(
        "evaluate",
        problem=file.problem.evaluation_digest,
        examples=examples_identity,
        model=model_version,
        champion=model_version_of(champion) if champion else None,
        release=release(),
    )


def publish_identity(step: str, model_version: str, target: str) -> str:
    """Identity of a step that puts a model somewhere: the registry or an endpoint."""
    return identity(step, model=model_version, target=target)


def champion_identity(registry: str, version: str) -> str:
    """Identity of the choice of a model from a registry; `version` is "" for the champion."""
    return identity("champion", registry=registry, version=version)


def resolve_identity(registry: str, champion: str, warm_start: str, data: str) -> str:
    """Identity of the step that resolves a training's inputs: which models names mean, and which data there is."""
    return identity("resolve", registry=registry, champion=champion, warm_start=warm_start, data=data)


def attempt_of(data_version: str, *, cache: bool) -> str:
    """The input `attempt` of tasks that an engine may take from its cache: the same text is the same work.

    Args:
        data_version: fingerprint of the data. Kubeflow Pipelines does not see by an artifact that its content changed.
        cache: False gives another text each time, so that no task is taken from the cache.
    """
    return data_version if cache else f"{data_version}-{uuid.uuid4().hex}"


def prepare_identity(predictions_identity: str) -> str:
    """Identity of the preparation of a batch prediction job."""
    return identity("prepare", predictions=predictions_identity)


def check_identity(predictions_identity: str, most_divergence: float) -> str:
    """Identity of the check of Predictions."""
    return identity("check", predictions=predictions_identity, most_divergence=float(most_divergence))


def examples_identity_of(examples: str) -> str:
    """The identity that an Examples artifact carries; errors as `Manifest.read`."""
    return Manifest.read(examples).identity


def model_version_of(model: str) -> str:
    """The version that a Model artifact carries; errors as `model_artifact.version_of`."""
    return version_of(model)
