"""Vertex AI Model Registry upload: a blessed model becomes a version of its entry, with aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.api_core import exceptions as api

from headrace.core import storage
from headrace.core.cloud import errors
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.steps import identity
from headrace.core.steps.step import running

_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/models/[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
# A version is found by its description, which the service stores per version and never changes.
_DESCRIPTION = "headrace {}"
# Routes of headrace's server, in whatever image it is.
_PORT = 8080
ROLE = "the role roles/aiplatform.user"


@dataclass(frozen=True)
class UploadConfig:
    """Options of an upload.

    Attributes:
        registry: projects/PROJECT/locations/REGION/models/ID.
        model_uri: the Model artifact on gs://.
        version: the model's version, by which an earlier upload is found.
        serving_image: container image of its server.
        aliases: of the version.
        labels: of the model.
        encryption_key: of Cloud KMS, or "".
        rules: "enforce" lets the server refuse rows that break the Model's rules, "warn" predict and count them.

    Raises:
        UsageError: a name that the service would reject, or a model that it cannot read.
    """

    registry: str
    model_uri: str
    version: str
    serving_image: str
    aliases: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    encryption_key: str = ""
    rules: Mode = "enforce"

    def __post_init__(self) -> None:
        check_mode(self.rules, where="rules")
        if not _NAME.match(self.registry):
            raise UsageError(
                "the registry name is not valid",
                where="registry",
                expected="projects/PROJECT/locations/REGION/models/ID, the id in a-z, 0-9 and -",
                received=repr(self.registry),
            )
        if not storage.is_remote(self.model_uri):
            raise UsageError(
                "Vertex AI cannot read the model", where="model", expected="gs://...", received=repr(self.model_uri)
            )


def upload(config: UploadConfig) -> str:
    """Registers a version, unless it is already registered, and sets its aliases.

    Returns:
        Its resource name, as .../models/ID@VERSION.

    Raises:
        UsageError: access denied, or an invalid request.
        PlatformError: the service failed, or another run registered a model at the same time.
    """
    from google.cloud import aiplatform

    project, location, model_id = config.registry.split("/")[1::2]
    with errors.translate_errors("Vertex AI", config.registry, ROLE):
        registry = aiplatform.models.ModelRegistry(config.registry, location=location, project=project)
        try:
            versions = registry.list_versions()
        except api.NotFound:
            versions = []
        description = description_of(config.version)
        known = next((v for v in versions if v.version_description == description), None)
        if known is not None:
            missing = [alias for alias in config.aliases if alias not in (known.version_aliases or ())]
            if missing:
                registry.add_version_aliases(missing, known.version_id)
            return f"{config.registry}@{known.version_id}"
        try:
            model = aiplatform.Model.upload(
                serving_container_image_uri=config.serving_image,
                artifact_uri=config.model_uri,
                model_id=None if versions else model_id,
                parent_model=config.registry if versions else None,
                version_aliases=list(config.aliases),
                version_description=description,
                serving_container_predict_route="/predict",
                serving_container_health_route="/health",
                serving_container_ports=[_PORT],
                serving_container_environment_variables=(
                    None if config.rules == "enforce" else {"HEADRACE_RULES": config.rules}
                ),
                display_name=model_id,
                project=project,
                location=location,
                labels=dict(config.labels),
                encryption_spec_key_name=config.encryption_key or None,
            )
        except api.Conflict as error:
            raise PlatformError(
                "another run registered a model at the same time",
                where=config.registry,
                received=errors.message_of(error),
                fix="Try again: the model becomes a version of that one",
            ) from error
    return f"{config.registry}@{model.version_id}"


def description_of(version: str) -> str:
    """The description of a headrace version in the registry."""
    return _DESCRIPTION.format(version)


def version_of(registered: str) -> str:
    """The headrace version of a registered model.

    Args:
        registered: .../models/ID@VERSION.

    Raises:
        DataError: headrace did not register the model.
    """
    from google.cloud import aiplatform

    with errors.translate_errors("Vertex AI", registered, ROLE):
        described = aiplatform.Model(registered).version_description or ""
    kind, _, version = described.partition(" ")
    if kind != _DESCRIPTION.partition(" ")[0] or not version:
        raise DataError("this model was not registered by headrace", where=registered, received=repr(described))
    return version


def run(
    registry: str,
    root: str,
    model: Any,
    evaluation: Any,
    serving_image: str,
    aliases: Sequence[str],
    labels: Mapping[str, str],
    encryption_key: str,
    rules: str = "enforce",
) -> str:
    """Runs the step; arguments as of `component.register`."""
    with running("register", root=root) as step:
        version = identity.model_version_of(storage.place_of(model))
        step.identity = identity.publish_identity("register", version, registry)
        judged = storage.read_json(storage.join(storage.place_of(evaluation), "evaluation.json"))
        if judged.get("model_version") != version:
            raise DataError(
                "the evaluation belongs to another model",
                where=evaluation.uri,
                expected=f"model_version {version}",
                received=str(judged.get("model_version")),
            )
        registered = upload(
            UploadConfig(
                registry=registry,
                model_uri=model.uri,
                version=version,
                serving_image=serving_image,
                aliases=tuple(aliases),
                labels=labels,
                encryption_key=encryption_key,
                rules=rules,  # type: ignore[arg-type]
            )
        )
        result = {"version": version, "aliases": dict.fromkeys(aliases, version)}
        step.finish(outputs={"registered": registered}, result=result)
    return registered
