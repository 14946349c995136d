"""Lookup of models in Vertex AI's Model Registry, by a name with a version or an alias."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as api

from headrace.components.registry.vertex.register import description_of
from headrace.components.registry.vertex.registry import ROLE, VertexRegistry, service_of
from headrace.components.train.request import TrainingRequest
from headrace.core.cloud import errors
from headrace.core.errors import DataError, UsageError
from headrace.core.saved_model.version import version_of
from headrace.core.sources import data_version as measuring
from headrace.core.steps import identity
from headrace.core.steps.step import running

CHAMPION = "champion"
_MODEL = r"projects/[^/@]+/locations/[^/@]+/models/[A-Za-z0-9_-]+"
# A version's number, an alias, or the Model's headrace version.
_WHICH = r"[A-Za-z0-9][A-Za-z0-9-]{0,127}"
_FULL = re.compile(rf"{_MODEL}(@{_WHICH})?\Z")
_OURS = re.compile(r"[0-9a-f]{16}\Z")
# Where Vertex AI mounts buckets for tasks and custom jobs.
_MOUNT = "/gcs/"


@dataclass(frozen=True)
class RegistryModel:
    """A model in the registry.

    Attributes:
        name: projects/PROJECT/locations/REGION/models/ID@NUMBER, with the number of the version.
        uri: gs:// URI of its files.
    """

    name: str
    uri: str


def full_name(text: str, registry: str) -> str:
    """The full resource name of a version, an alias or a resource name.

    Args:
        text: "champion", "3", a Model's headrace version, or projects/.../models/ID, optionally with @ and one of
            these.
        registry: the entry of a version or an alias, as projects/PROJECT/locations/REGION/models/ID.

    Raises:
        UsageError: the text has none of these forms.
    """
    if _FULL.match(text):
        return text
    if re.fullmatch(_WHICH, text) and re.fullmatch(_MODEL, registry):
        return f"{registry}@{text}"
    raise UsageError(
        "the name is not a model in Vertex AI's Model Registry",
        where="registry" if re.fullmatch(_WHICH, text) else "model",
        expected="projects/PROJECT/locations/REGION/models/ID, with @VERSION or @ALIAS, or one of these two alone",
        received=repr(registry if re.fullmatch(_WHICH, text) else text),
    )


def find(name: str) -> RegistryModel:
    """Looks up a model by its name.

    Args:
        name: from `full_name`.

    Raises:
        UsageError: the model does not exist, or access is denied.
        DataError: the registry has no gs:// URI of its files.
        PlatformError: the service failed.
    """
    from google.cloud import aiplatform

    entry, _, which = name.partition("@")
    with errors.translate_errors("Vertex AI", name, ROLE):
        try:
            if _OURS.match(which):
                which = _number(service_of(entry), which)
            model = aiplatform.Model(f"{entry}@{which}" if which else entry)
            found = RegistryModel(f"{entry}@{model.version_id}", str(model.uri or "").rstrip("/"))
        except api.NotFound as error:
            raise UsageError(
                "the model does not exist in the registry",
                where=name,
                expected="a version or an alias that the registry has",
                received=errors.message_of(error),
                fix=f"List them: gcloud ai models list-version {entry.rpartition('/')[2]} --region={_region(entry)}",
            ) from error
    if not found.uri.startswith("gs://"):
        raise DataError(
            "the registry has no URI of the model's files",
            where=name,
            expected="gs://...",
            received=found.uri,
        )
    return found


def place_of(text: str, registry: str) -> str:
    """The gs:// URI or path of a Model; "" for "".

    Args:
        text: a URI, an absolute path, or a name as of `full_name`.
        registry: as of `full_name`.

    Raises:
        UsageError, DataError, PlatformError: as of `full_name` and `find`.
    """
    if not text or "://" in text or text.startswith("/"):
        return text
    return find(full_name(text, registry)).uri


def champion(
    registry: str, root: str, version: str, data: str = "", data_version: str = "", csv: str = "", cache: bool = True
) -> tuple[str, str, str, str]:
    """Implements `component.champion`, whose docstring describes the arguments."""
    with running("champion", root=root) as step:
        step.identity = identity.champion_identity(registry, version)
        found = find(full_name(version or CHAMPION, registry))
        chosen = version_of(found.uri)
        if version:
            # The champion is always usable, but a version that a schedule names may be marked as bad by now.
            entry = found.name.partition("@")[0]
            known = VertexRegistry(entry).state()
            if chosen in known.versions:
                known.usable(chosen)
        measured = measuring.version_of(data, data_version, csv)
        result = {"version": chosen, "registered": found.name, "data_version": measured}
        step.finish(outputs={"model": found.uri}, result=result)
    return found.uri, found.name, measured, identity.attempt_of(measured, cache=cache)


def resolve(
    registry: str,
    root: str,
    champion: str,
    training: Mapping[str, Any],
    data: str = "",
    data_version: str = "",
    csv: str = "",
    cache: bool = True,
) -> tuple[str, dict[str, Any], str, str]:
    """Implements `component.resolve`, whose docstring describes the arguments."""
    with running("resolve", root=root) as step:
        request = TrainingRequest.from_json(training)
        step.identity = identity.resolve_identity(registry, champion, request.warm_start, data)
        found = place_of(champion, registry)
        start, version = place_of(request.warm_start, registry), request.warm_start_version
        if start and not version:
            version = identity.model_version_of(start)
        measured = measuring.version_of(data, data_version, csv)
        resolved = dataclasses.replace(request, warm_start=start, warm_start_version=version).to_json()
        result = {"champion": found, "training": resolved, "data_version": measured}
        step.finish(outputs={"champion": found, "warm_start": start}, result=result)
    if start:
        resolved["warm_start"] = _mounted(start)
    return _mounted(found), resolved, measured, identity.attempt_of(measured, cache=cache)


def _number(registry: Any, version: str) -> str:
    """The number, in the service, of a headrace version.

    Raises:
        google.api_core.exceptions.NotFound: the version does not exist.
    """
    for known in registry.list_versions():
        if known.version_description == description_of(version):
            return str(known.version_id)
    raise api.NotFound(f"No version has the description {description_of(version)!r}")  # type: ignore[no-untyped-call]


def _mounted(uri: str) -> str:
    """The path of a gs:// URI in the mounts of tasks and custom jobs, which TensorFlow reads like any other file."""
    return _MOUNT + uri.removeprefix("gs://") if uri.startswith("gs://") else uri


def _region(entry: str) -> str:
    return entry.split("/")[3]
