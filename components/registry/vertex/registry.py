"""Vertex AI Model Registry with states and a history, which the service itself cannot store.

The service stores versions and aliases, and changes them without compare-and-set. `registry.json`, an object on gs://,
stores the intended state. It is changed by compare-and-set, with an epoch, author, time and reason, and the service's
aliases are set afterwards. If a change is killed in between, the next one completes it. The record of each version,
`registered.json` among its files, names the folder of that object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.api_core import exceptions as api

from headrace.components.registry.base import ModelRegistry, Transition
from headrace.components.registry.origin import Clock, utc_now
from headrace.components.registry.state import CHALLENGER, CHAMPION, PREVIOUS, RegistryState, Version
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.artifacts.registered import RECORD, check_record, read_record
from headrace.core.cloud import errors
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json

ROLE = "roles/aiplatform.user"
# The description identifies a version: the service stores it per version, and never changes it.
DESCRIPTION = "headrace "
# The member of a record that names the registry's folder on gs://.
FOLDER = "registry"
_OURS = (CHAMPION, CHALLENGER, PREVIOUS)
# The service's alias of the version that is used if a request names none.
_DEFAULT = "default"
_ROUNDS = 20


@dataclass(frozen=True)
class UploadedVersion:
    """A version in the service.

    Attributes:
        number: number of the version in the service.
        version: headrace version.
        aliases: aliases of the version.
        uri: gs:// URI of its files.
    """

    number: str
    version: str
    aliases: tuple[str, ...]
    uri: str


def service_of(entry: str) -> Any:
    """The SDK's `ModelRegistry` of an entry, with the client of the entry's region.

    Args:
        entry: projects/PROJECT/locations/REGION/models/ID.
    """
    from google.cloud import aiplatform

    project, location = entry.split("/")[1:4:2]
    return aiplatform.models.ModelRegistry(entry, location=location, project=project)


def uploaded(entry: str) -> list[UploadedVersion]:
    """The versions of an entry that headrace uploaded, sorted by number; empty if the entry does not exist.

    Args:
        entry: projects/PROJECT/locations/REGION/models/ID.

    Raises:
        UsageError: access is denied.
        PlatformError: the service failed.
    """
    with errors.translate_errors("Vertex AI", entry, ROLE):
        try:
            models = list(service_of(entry).client.list_model_versions(name=entry))
        except api.NotFound:
            return []
    found = [
        UploadedVersion(
            str(model.version_id),
            model.version_description.removeprefix(DESCRIPTION),
            tuple(model.version_aliases),
            str(model.artifact_uri).rstrip("/"),
        )
        for model in models
        if model.version_description.startswith(DESCRIPTION)
    ]
    return sorted(found, key=lambda one: int(one.number))


def folder_of(versions: Sequence[UploadedVersion]) -> str:
    """The folder of registry.json, from the first version that has a record; "" if no version has one."""
    for one in versions:
        if one.uri and storage.exists(storage.join(one.uri, RECORD)):
            return str(read_record(one.uri).get(FOLDER, ""))
    return ""


class VertexRegistry(ModelRegistry):
    """An entry of Vertex AI's Model Registry.

    Args:
        entry: projects/PROJECT/locations/REGION/models/ID.
        folder: gs:// URI of the folder of registry.json; "" for the one that the entry's versions name.
        who, clock, claim: as of `ModelRegistry`.
    """

    def __init__(
        self, entry: str, *, folder: str = "", who: str = "", clock: Clock = utc_now, claim: Claim | None = None
    ) -> None:
        super().__init__(entry, who=who, clock=clock, claim=claim)
        self._folder = folder

    def state(self) -> RegistryState:
        """Versions, aliases and history. Raises the errors of `ModelRegistry.state`."""
        versions = uploaded(self.where)
        return self._read(versions, self._uri(versions))

    def path(self, version: str) -> str:
        """The gs:// URI of a registered version's Model. Raises the errors of `ModelRegistry.path`."""
        versions = uploaded(self.where)
        known = self._read(versions, self._uri(versions)).get(version)
        found = next((one for one in versions if one.version == version), None)
        if found is None:
            raise UsageError("the version was deleted from Vertex AI's registry", where=self.where, received=version)
        if not found.uri.startswith("gs://"):
            raise DataError(
                "the registry has no URI of the model's files",
                where=f"{self.where}@{found.number}",
                expected="gs://...",
                received=found.uri,
            )
        if known.digest:
            check_record(found.uri, known.digest)
        return found.uri

    def differences(self) -> list[str]:
        """The service's aliases that differ from the state, such as after a killed change or one in the console."""
        versions = uploaded(self.where)
        wanted = self._read(versions, self._uri(versions)).aliases
        actual = _aliases(versions)
        return [
            f"Vertex AI's alias {alias} is on {actual.get(alias, 'no version')}, and not on "
            f"{wanted.get(alias, 'none')}: the next change here corrects it"
            for alias in sorted({*wanted, *(alias for alias in actual if alias in _OURS)})
            if actual.get(alias) != wanted.get(alias)
        ]

    def registered(
        self, version: str, number: str, digest: str, approval: str, aliases: Sequence[str], why: str
    ) -> RegistryState:
        """Records an upload and sets aliases. The alias champion promotes the version, even if the gate refused it.

        Args:
            version: headrace version.
            number: number of the version in the service.
            digest: SHA-256 of its record, in hexadecimal.
            approval: approval by its Evaluation, as of `Version`.
            aliases: aliases of the version; other versions lose them.
            why: reason for the history.

        Raises:
            GateRefused: the version is marked as bad.
            UsageError: the version is archived.
        """

        def change(now: RegistryState, by: Any) -> RegistryState:
            known = now.versions.get(version)
            if known is not None and not known.epoch and known.status == "registered":
                # An attempt uploaded it, and was killed before it recorded the version.
                now = replace(now, versions={name: v for name, v in now.versions.items() if name != version})
            after = now.registered(version, number, digest, approval, by)
            if CHAMPION in aliases:
                after = after.promoted(version, by, approve=True)
            return after.with_aliases({alias: version for alias in aliases if alias != CHAMPION}, by)

        return self._change(change, why)

    def _change(self, change: Transition, why: str) -> RegistryState:
        versions = uploaded(self.where)
        uri, by = self._uri(versions), self._origin(why)
        if not uri:
            raise DataError(
                "no version of the model has a record",
                where=self.where,
                expected=f"{RECORD} among the files of a version, which names the registry's folder",
                fix="Register a version with headrace",
            )

        def changed(content: Any) -> Any:
            before = self._parsed(content, versions, uri)
            self._check_claim()
            after = change(before, by)
            return content if after is before else after.to_json()

        return self._applied(self._parsed(update_json(uri, changed), versions, uri), uri)

    def _applied(self, state: RegistryState, uri: str) -> RegistryState:
        """Sets the service's aliases to those of the state; repeats it if the state changed in between."""
        for _ in range(_ROUNDS):
            with errors.translate_errors("Vertex AI", self.where, ROLE):
                registry = service_of(self.where)
                for one in uploaded(self.where):
                    named = {alias for alias, version in state.aliases.items() if version == one.version}
                    gone = [alias for alias in one.aliases if alias in _OURS and alias not in state.aliases]
                    if added := sorted(named - set(one.aliases)):
                        registry.add_version_aliases(added, one.number)
                    if gone:
                        registry.remove_version_aliases(gone, one.number)
            now = self._read(uploaded(self.where), uri)
            if now.epoch == state.epoch:
                return state
            state = now
        raise PlatformError(
            "other processes changed the registry during every attempt", where=self.where, fix="Try again"
        )

    def _uri(self, versions: Sequence[UploadedVersion]) -> str:
        folder = self._folder or folder_of(versions)
        return storage.join(folder, REGISTRY.state) if folder else ""

    def _read(self, versions: Sequence[UploadedVersion], uri: str) -> RegistryState:
        found = read_with_token(uri) if uri else None
        return self._parsed(None if found is None else json_of(found.content, uri), versions, uri)

    def _parsed(self, content: Any, versions: Sequence[UploadedVersion], uri: str) -> RegistryState:
        """The state, with versions that are uploaded but not recorded. A new state has the service's aliases."""
        state = RegistryState.from_json(content, self.where, uri)
        unrecorded = {
            one.version: Version(one.number, "", "pending", "registered", 0)
            for one in versions
            if one.version not in state.versions
        }
        aliases = _aliases(versions) if content is None else state.aliases
        return replace(state, versions={**state.versions, **unrecorded}, aliases=aliases)


def _aliases(versions: Sequence[UploadedVersion]) -> dict[str, str]:
    return {alias: one.version for one in versions for alias in one.aliases if alias != _DEFAULT}
