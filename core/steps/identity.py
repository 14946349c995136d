"""Step identity, the cache key: a digest of all that a step's result depends on. A run resumes and is found by it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.model import version_of
from headrace.core.problem.file import ProblemFile
from headrace.core.steps.step import ENGINE_SOURCE, identity

# The code that computes results; pipelines only arrange it.
_PACKAGES = ("headrace.core", "headrace.components")
# Python, the C sources, and the rules and tables that are read as resources.
_SOURCE = frozenset({".py", ".c", ".h", ".json"})


def release() -> str:
    """The installed version of headrace: another one may compute another result.

    One development version covers many states of the code, so a digest of the source is added to it: that of the first
    call in this process, or in the fork server that has imported its modules.
    """
    version = metadata.version("headrace")
    return f"{version}-{_imported()}" if ".dev" in version else version


def code_changed() -> bool:
    """Whether the code was changed since a local engine started the run of this process."""
    earlier = os.environ.get(ENGINE_SOURCE, "")
    return bool(earlier) and earlier != code_digest()


def code_digest() -> str:
    """Digest of the code that computes results, as it is on the disk now."""
    roots = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        roots += [Path(root) for root in (spec.submodule_search_locations or ())] if spec is not None else []
    return source_digest(roots)


_imported = functools.cache(code_digest)


def source_digest(roots: Iterable[Path]) -> str:
    """Digest of the names and contents of source files below some folders, 8 hexadecimal digits."""
    total = hashlib.sha256()
    for root in roots:
        for path in sorted(path for path in root.rglob("*") if path.suffix in _SOURCE):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()[:8]


def preprocess_identity(
    file: ProblemFile, data_version: str, baseline_version: str = "", csv: Sequence[str] = ()
) -> str:
    """Identity of the Examples of one version of the data.

    Args:
        file: the Problem file.
        data_version: fingerprint of the data.
        baseline_version: fingerprint of the statistics that drift was measured against, or "".
        csv: options of reading CSV, as NAME=VALUE.
    """
    return identity(
        "preprocess",
        problem=file.problem.schema_digest,
        data=data_version,
        baseline=baseline_version,
        csv=list(csv),
        release=release(),
    )


def ingest_identity(
    file: ProblemFile, versions: Sequence[str], baseline: str, csv: Sequence[str] = (), **choices: Any
) -> str:
    """Identity of a request to ingest; what it gives also depends on the spans that arrived before.

    Args:
        file: the Problem file.
        versions: of the arrivals.
        baseline: where the statistics are that drift is measured against, or "".
        csv: options of reading CSV, as NAME=VALUE.
        choices: of the window.
    """
    schema = file.problem.schema_digest
    return identity(
        "ingest",
        problem=schema,
        versions=sorted(versions),
        baseline=baseline,
        csv=list(csv),
        release=release(),
        **choices,
    )


def train_identity(file: ProblemFile, examples_identity: str, choices: Mapping[str, Any] | None = None) -> str:
    """Identity of a Model; it is the model's version too. `choices` are options beyond the Problem file."""
    return identity(
        "train", problem=file.training_digest, examples=examples_identity, release=release(), **(choices or {})
    )


def evaluate_identity(
    file: ProblemFile,
    examples_identity: str,
    model_version: str,
    champion: str,
    challenge: Mapping[str, Any] | None = None,
) -> str:
    """Identity of an Evaluation.

    Args:
        file: the Problem file.
        examples_identity: of the Examples.
        model_version: of the Model.
        champion: a Model, or "" for none.
        challenge: rule of a comparison on the newest rows; {} or None for none.
    """
    return identity(
        "evaluate",
        problem=file.problem.evaluation_digest,
        examples=examples_identity,
        model=model_version,
        champion=model_version_of(champion) if champion else None,
        release=release(),
        **({"challenge": dict(challenge)} if challenge else {}),
    )


def claim_identity(ledger: str, run_id: str, holder: str) -> str:
    """Identity of a claim in a ledger: a copy of the run has another holder, and a record of its own."""
    return identity("claim", ledger=ledger, run=run_id, holder=holder)


def lineage_identity(run_id: str, holder: str, examples_identity: str) -> str:
    """Identity of the choice of what a training starts from, in a claimed run."""
    return identity("lineage", run=run_id, holder=holder, examples=examples_identity)


def publish_identity(step: str, model_version: str, target: str) -> str:
    """Identity of a step that registers or deploys a model."""
    return identity(step, model=model_version, target=target)


def champion_identity(registry: str, version: str) -> str:
    """Identity of a lookup in a registry; `version` is "" for the champion."""
    return identity("champion", registry=registry, version=version)


def resolve_identity(registry: str, champion: str, warm_start: str, data: str) -> str:
    """Identity of the step that resolves a training's inputs: the models behind names, and the data's version."""
    return identity("resolve", registry=registry, champion=champion, warm_start=warm_start, data=data)


def attempt_of(data_version: str, *, cache: bool) -> str:
    """The input `attempt` of tasks, which is part of an engine's cache key: an equal text is a cache hit.

    Args:
        data_version: fingerprint of the data. Kubeflow Pipelines does not detect changed content of an artifact.
        cache: False gives another text each time, so that no task is a cache hit.
    """
    return data_version if cache else f"{data_version}-{uuid.uuid4().hex}"


def prepare_identity(predictions_identity: str) -> str:
    """Identity of the preparation of a batch prediction job."""
    return identity("prepare", predictions=predictions_identity)


def check_identity(predictions_identity: str, max_divergence: float) -> str:
    """Identity of the check of Predictions."""
    return identity("check", predictions=predictions_identity, max_divergence=float(max_divergence))


def examples_identity_of(examples: str) -> str:
    """The identity in an Examples artifact; errors as `Manifest.read`."""
    return Manifest.read(examples).identity


def model_version_of(model: str) -> str:
    """The version in a Model artifact; errors as `model.version_of`."""
    return version_of(model)
