"""Upload to Vertex AI's Model Registry: a blessed model becomes a version of its entry, with aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.api_core import exceptions as api

from headrace.components.registry.record import facts_of, read_evaluation
from headrace.components.registry.vertex.registry import (
    DESCRIPTION,
    FOLDER,
    ROLE,
    VertexRegistry,
    folder_of,
    service_of,
    uploaded,
)
from headrace.core import storage
from headrace.core.artifacts.registered import RECORD, digest_of_record, measure, read_record, record_of
from headrace.core.cloud import errors
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.ledger.claim import Claim, check, may_begin
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.serving_mode import Serving, serving_of
from headrace.core.steps import identity
from headrace.core.steps.step import running
from headrace.core.steps.workspace import registry_uri

_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/models/[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
# Port of headrace's server in every serving image.
_PORT = 8080


@dataclass(frozen=True)
class UploadConfig:
    """Options of an upload.

    Attributes:
        registry: projects/PROJECT/locations/REGION/models/ID.
        model_uri: gs:// URI of the Model.
        version: the Model's headrace version, which identifies an earlier upload.
        serving_image: container image of its server.
        labels: labels of the model.
        encryption_key: name of a Cloud KMS key; "" for Google's own key.
        rules: "enforce" makes the server refuse rows that break the Model's rules; "warn" makes it predict and count
            those whose values are out of bounds or unknown.
        traffic_log: gs:// prefix where each server writes its counts of requests, for canaries; "" for no counts.
        request_log: gs:// prefix where each server logs a sample of its requests, for their replay; "" for no log.
        serving: mode of the servers; None for the mode that the Model's Problem declares.

    Raises:
        UsageError: the name of the registry or the mode is not valid, or the model is not on gs://.
    """

    registry: str
    model_uri: str
    version: str
    serving_image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    encryption_key: str = ""
    rules: Mode = "enforce"
    traffic_log: str = ""
    request_log: str = ""
    serving: Serving | None = None

    def __post_init__(self) -> None:
        check_mode(self.rules, where="rules")
        if not _NAME.match(self.registry):
            raise UsageError(
                "the registry name is not valid",
                where="registry",
                expected="projects/PROJECT/locations/REGION/models/ID, the id in a-z, 0-9 and -",
                received=repr(self.registry),
            )
        if not self.model_uri.startswith("gs://"):
            raise UsageError(
                "Vertex AI cannot read the model", where="model", expected="gs://...", received=repr(self.model_uri)
            )


def upload(config: UploadConfig) -> str:
    """Uploads a version without an alias, unless it was uploaded before.

    Returns:
        Its resource name, as .../models/ID@VERSION.

    Raises:
        UsageError: access is denied, or the request is not valid.
        PlatformError: the service failed, or another run registered a model at the same time.
    """
    from google.cloud import aiplatform

    project, location, model_id = config.registry.split("/")[1::2]
    with errors.translate_errors("Vertex AI", config.registry, ROLE):
        registry = service_of(config.registry)
        try:
            versions = registry.list_versions()
        except api.NotFound:
            versions = []
        description = description_of(config.version)
        known = next((v for v in versions if v.version_description == description), None)
        if known is not None:
            return f"{config.registry}@{known.version_id}"
        try:
            model = aiplatform.Model.upload(
                serving_container_image_uri=config.serving_image,
                artifact_uri=config.model_uri,
                model_id=None if versions else model_id,
                parent_model=config.registry if versions else None,
                version_description=description,
                serving_container_predict_route="/predict",
                serving_container_health_route="/health",
                serving_container_ports=[_PORT],
                serving_container_environment_variables=_variables(config) or None,
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


def _variables(config: UploadConfig) -> dict[str, str]:
    rules = {} if config.rules == "enforce" else {"HEADRACE_RULES": config.rules}
    logs = {"HEADRACE_TRAFFIC_LOG": config.traffic_log, "HEADRACE_REQUEST_LOG": config.request_log}
    return (
        rules
        | {name: uri for name, uri in logs.items() if uri}
        | (config.serving.variables if config.serving is not None else {})
    )


def description_of(version: str) -> str:
    """The description of a headrace version in the registry."""
    return f"{DESCRIPTION}{version}"


def registered_model(registered: str) -> tuple[str, str]:
    """The headrace version of a registered model, and the URI of its files.

    Args:
        registered: .../models/ID@VERSION.

    Raises:
        DataError: headrace did not register the model.
    """
    from google.cloud import aiplatform

    with errors.translate_errors("Vertex AI", registered, ROLE):
        model = aiplatform.Model(registered)
        described, uri = model.version_description or "", str(model.uri or "").rstrip("/")
    version = described.removeprefix(DESCRIPTION)
    if version in ("", described):
        raise DataError("this model was not registered by headrace", where=registered, received=repr(described))
    return version, uri


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
    claim: Mapping[str, Any] | None = None,
    traffic_log: str = "",
    serving: Mapping[str, Any] | None = None,
    request_log: str = "",
) -> str:
    """Implements `component.register`, whose docstring describes the arguments."""
    with running("register", root=root) as step:
        version = identity.model_version_of(storage.place_of(model))
        step.identity = identity.publish_identity("register", version, registry)
        judged = read_evaluation(storage.place_of(evaluation), version)
        config = UploadConfig(
            registry=registry,
            model_uri=model.uri,
            version=version,
            serving_image=serving_image,
            labels=labels,
            encryption_key=encryption_key,
            rules=rules,  # type: ignore[arg-type]
            traffic_log=traffic_log,
            request_log=request_log,
            serving=serving_of(serving or {}),
        )
        held = Claim.from_json(claim or {})
        may_begin(held, "register")
        registered = register(config, root, judged, aliases, held)
        result = {"version": version, "aliases": dict.fromkeys(aliases, version)}
        step.finish(outputs={"registered": registered}, result=result)
    return registered


def register(
    config: UploadConfig,
    root: str,
    evaluation: bytes | None,
    aliases: Sequence[str],
    claim: Claim | None = None,
) -> str:
    """Registers a version: writes its record and uploads it, unless an earlier call did, and sets its aliases.

    Args:
        config: options of the upload.
        root: pipeline root on gs://, below which the state of a new registry is stored; "" for the model's bucket.
        evaluation: content of its evaluation.json; None without one.
        aliases: aliases of the version; other versions lose them.
        claim: claim of the run that registers; None for a run outside dynamic training. A superseded run changes
            nothing.

    Returns:
        Its resource name, as .../models/ID@VERSION.

    Raises:
        Overtaken: another run superseded this one.
        GateRefused: the version is marked as bad.
        UsageError: the version is archived, access is denied, or a request is not valid.
        PlatformError: the service failed, or another run registered a model at the same time.
    """
    check(claim)
    versions = uploaded(config.registry)
    known = next((one.uri for one in versions if one.version == config.version), config.model_uri)
    folder = folder_of(versions) or _new_folder(config, root)
    state = VertexRegistry(config.registry, folder=folder).state()
    recorded = state.usable(config.version) if config.version in state.versions else None
    if recorded is None or not recorded.digest:
        record = record_of({**facts_of(known, evaluation), FOLDER: folder}, measure(known))
        storage.write_json(storage.join(known, RECORD), record)
    registered = upload(config)
    # If several versions were uploaded concurrently, the first one names the folder.
    folder = folder_of(uploaded(config.registry)) or folder
    VertexRegistry(config.registry, folder=folder, claim=claim).registered(
        config.version,
        registered.rpartition("@")[2],
        digest_of_record(known),
        str(read_record(known).get("approval")),
        aliases,
        "registered by a pipeline",
    )
    return registered


def _new_folder(config: UploadConfig, root: str) -> str:
    bucket = config.model_uri.removeprefix("gs://").partition("/")[0]
    return registry_uri(root if root.startswith("gs://") else f"gs://{bucket}/headrace", config.registry.split("/")[-1])
