"""Folder registry: a copy of every registered version of a model, and aliases such as the champion.

versions/VERSION/   on a disk: the Model, its evaluation.json, and registered.json with the digest of every file
versions/VERSION/DIGEST/   in an object store, where folders cannot be renamed: named after the content, so that two
                    runs that register concurrently never mix their files
registry.json       versions with their status, aliases and the history, changed only by compare-and-set
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from headrace.components.registry.base import ModelRegistry, Transition
from headrace.components.registry.origin import Clock, utc_now
from headrace.components.registry.record import EVALUATION, facts_of, read_evaluation
from headrace.components.registry.state import CHAMPION, RegistryState, Version
from headrace.components.registry.version_name import check_version
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.artifacts.model import complete_version
from headrace.core.artifacts.registered import (
    RECORD,
    FileDigest,
    check_record,
    digest_of_record,
    measure,
    read_record,
    record_of,
)
from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json
from headrace.core.storage.json_lines import json_bytes
from headrace.core.storage.lock import locked
from headrace.core.storage.output_check import check_output
from headrace.core.storage.remote import folders

_UPLOADS_AT_ONCE = 8


class RegisteredVersion(NamedTuple):
    """A registered version, and the URI of its Model."""

    version: str
    uri: str


class Registry(ModelRegistry):
    """Versions of one problem's model in a folder or an object store, safe for concurrent processes and threads.

    Args:
        folder: path or URI of the registry; the first registration creates it.
        who, clock, claim: as of `ModelRegistry`.
    """

    def __init__(self, folder: str, *, who: str = "", clock: Clock = utc_now, claim: Claim | None = None) -> None:
        super().__init__(folder, who=who, clock=clock, claim=claim)
        self.folder = folder
        self._uri = storage.join(folder, REGISTRY.state)

    def state(self) -> RegistryState:
        """Versions, aliases and history. Raises the errors of `ModelRegistry.state`."""
        found = read_with_token(self._uri)
        return self._parsed(None if found is None else json_of(found.content, self._uri))

    def register(self, model_dir: str, evaluation_dir: str | None = None, *, why: str = "") -> str:
        """Copies a Model and its Evaluation under the model's version.

        Registering a registered version again changes nothing.

        Args:
            model_dir: path or URI of a Model.
            evaluation_dir: path or URI of its Evaluation; None without one.
            why: reason for the history.

        Returns:
            The version.

        Raises:
            DataError: the Model is damaged, or the Evaluation belongs to another model.
            UsageError: the folder contains no Model, or the registry cannot be written.
            GateRefused: the version is marked as bad.
            PlatformError: another process held the registry's lock for too long, or the disk or the service failed.
        """
        check_output(self.folder, REGISTRY, option="the registry", inputs={"the model": model_dir})
        version = complete_version(model_dir)
        evaluation = None if evaluation_dir is None else read_evaluation(evaluation_dir, version)
        state = self.state()
        if version in state.versions:
            # Raises an error for a bad version.
            state.registered(version, "", "", "", self._origin(why))
            return version
        facts = facts_of(model_dir, evaluation)
        publish = self._upload if storage.is_remote(self.folder) else self._copy
        with storage.at_hand(model_dir) as source:
            place = publish(source, version, facts, evaluation)
        stored = storage.join(self.folder, place)
        # If two processes register it concurrently, the record is that of the first.
        digest, approval = digest_of_record(stored), str(read_record(stored).get("approval"))
        self._change(lambda now, by: now.registered(version, place, digest, approval, by), why)
        return version

    def path(self, version: str) -> str:
        """The path or URI of a registered version's Model. Raises the errors of `ModelRegistry.path`."""
        return self._path(self.state().get(check_version(version, self.folder)))

    def champion(self, version: str = "") -> RegisteredVersion:
        """The champion, or a given version.

        Raises:
            UsageError: there is no champion, or the version does not exist or is archived.
            GateRefused: the version is marked as bad.
            DataError: registry.json or the version's record is damaged.
        """
        state = self.state()
        chosen = version or state.aliases.get(CHAMPION)
        if chosen is None:
            raise UsageError(
                "the registry has no champion",
                where=self.folder,
                expected="a model that a training run registered",
                fix="Run `headrace run static` with this root, or specify a version",
            )
        return RegisteredVersion(chosen, self._path(state.usable(check_version(chosen, self.folder))))

    def _parsed(self, content: Any) -> RegistryState:
        return RegistryState.from_json(content, self.folder, self._uri)

    def _change(self, change: Transition, why: str) -> RegistryState:
        by = self._origin(why)

        def changed(content: Any) -> Any:
            before = self._parsed(content)
            self._check_claim()
            after = change(before, by)
            return content if after is before else after.to_json()

        return self._parsed(update_json(self._uri, changed))

    def _path(self, version: Version) -> str:
        uri = storage.join(self.folder, version.place)
        check_record(uri, version.digest)
        return uri

    def _copy(self, source: Path, version: str, facts: Mapping[str, Any], evaluation: bytes | None) -> str:
        """Copies a Model to a disk, atomically, and returns its folder relative to the registry."""
        place = f"versions/{check_version(version, self.folder)}"
        target = storage.local_path(storage.join(self.folder, place))
        with locked(self.folder), storage.writing(str(target)):
            target.parent.mkdir(exist_ok=True)
            # Only the holder of the lock copies, so these are leftovers of killed registrations.
            for left in target.parent.glob(".*"):
                shutil.rmtree(left, ignore_errors=True)
            # An existing folder is complete: it was renamed by a registration that was killed before it was recorded.
            if not target.exists():
                self._copy_to(target, source, facts, evaluation)
        return place

    @staticmethod
    def _copy_to(target: Path, source: Path, facts: Mapping[str, Any], evaluation: bytes | None) -> None:
        temporary = storage.temporary_name(target)
        try:
            shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(RECORD))
            if evaluation is not None:
                storage.write_bytes(str(temporary / EVALUATION), evaluation)
            storage.write_json(str(temporary / RECORD), record_of(facts, measure(str(temporary))))
            storage.publish(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _upload(self, source: Path, version: str, facts: Mapping[str, Any], evaluation: bytes | None) -> str:
        """Copies a Model to an object store, the record last, and returns its folder relative to the registry."""
        files = measure(str(source))
        if evaluation is not None:
            files[EVALUATION] = FileDigest(len(evaluation), hashlib.sha256(evaluation).hexdigest())
        digest = hashlib.sha256(json_bytes(record_of(facts, files))).hexdigest()[:16]
        place = f"versions/{check_version(version, self.folder)}/{digest}"
        target = storage.join(self.folder, place)
        if storage.exists(storage.join(target, RECORD)):
            return place
        store = storage.store_of(target)

        def upload(name: str) -> None:
            if name == EVALUATION and evaluation is not None:
                storage.write_bytes(storage.join(target, name), evaluation)
            else:
                store.upload(source / name, storage.join(target, name))

        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            list(pool.map(upload, files))
        listed = {each.uri: each for each in folders.below(target)}
        for name, file in files.items():
            found = listed.get(storage.join(target, name))
            if found is None or found.bytes != file.bytes:
                raise PlatformError(
                    "the Model changed while it was registered",
                    where=storage.join(target, name),
                    expected=f"{file.bytes} bytes",
                    received="nothing" if found is None else f"{found.bytes} bytes",
                    fix="Register it again",
                )
            files[name] = replace(file, listed=found.digest)
        storage.write_json(storage.join(target, RECORD), record_of(facts, files))
        return place
