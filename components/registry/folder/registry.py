"""Folder registry: a copy of every registered version of a model, and aliases such as the champion."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from typing import NamedTuple

from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.artifacts.missing import no_artifact
from headrace.core.artifacts.model import version_of
from headrace.core.errors import DataError, UsageError
from headrace.core.storage.lock import locked
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import check_output

# Versions and aliases become folder names, URLs and labels; a leading `.` would hide a folder, or leave it.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")

_MODEL_FILES = ("saved_model/saved_model.pb", "schema.json", "problem.json", "golden.json", "training.json")


class Registered(NamedTuple):
    """A registered version, and the URI of its Model."""

    version: str
    uri: str


class Registry:
    """Versions of one problem's model in a folder, safe for concurrent processes.

    `versions/VERSION/` is a Model artifact with its `evaluation.json`; `aliases.json` maps aliases to versions.

    Args:
        folder: of the registry; created at the first registration.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def register(self, model_dir: str, evaluation_dir: str | None = None) -> str:
        """Copies a Model and its Evaluation under the model's version.

        A version is registered once: registering it again changes nothing.

        Args:
            model_dir: a Model artifact.
            evaluation_dir: the Evaluation of that model, if there is one.

        Returns:
            The version.

        Raises:
            DataError: the Model is damaged, or the Evaluation belongs to another model.
            UsageError: the folder holds no Model, or the registry cannot be written.
            PlatformError: another process held the registry's lock for too long, or the disk failed.
        """
        check_output(self.folder, REGISTRY, option="the registry", inputs={"the model": model_dir})
        version = model_version(model_dir)
        evaluation = None
        if evaluation_dir is not None:
            evaluation = storage.read_json(storage.join(evaluation_dir, "evaluation.json"))
            judged = evaluation.get("model_version") if isinstance(evaluation, dict) else None
            if judged != version:
                raise DataError(
                    "the evaluation belongs to another model",
                    where=storage.join(evaluation_dir, "evaluation.json"),
                    expected=f"model_version {version}",
                    received=str(judged),
                )
        with locked(self.folder):
            target = self._version_uri(version)
            if storage.exists(target):
                return version
            # Only the holder of the lock copies: these were left by killed registrations.
            for left in storage.local_path(storage.join(self.folder, "versions")).glob(".*"):
                shutil.rmtree(left, ignore_errors=True)
            with publishing(target, None) as temporary, storage.writing(target):
                shutil.copytree(storage.local_path(model_dir), temporary, dirs_exist_ok=True)
                if evaluation is not None:
                    storage.write_json(str(temporary / "evaluation.json"), evaluation)
        return version

    def versions(self) -> list[str]:
        """The registered versions, sorted by name."""
        folder = storage.local_path(storage.join(self.folder, "versions"))
        if not folder.is_dir():
            return []
        # A killed registration leaves a folder whose name starts with `.`.
        return sorted(entry.name for entry in folder.iterdir() if _VERSION.match(entry.name) and entry.is_dir())

    def path(self, version: str) -> str:
        """The URI of a registered version's Model.

        Raises:
            UsageError: the version does not exist.
        """
        target = self._version_uri(version)
        if not storage.exists(target):
            raise UsageError(
                "the version does not exist in the registry",
                where=self.folder,
                expected=f"one of {', '.join(self.versions()) or 'no version: nothing is registered yet'}",
                received=repr(version),
            )
        return target

    def champion(self, version: str = "") -> Registered:
        """The champion, or a given version.

        Raises:
            UsageError: there is no champion, or the version does not exist.
            DataError: aliases.json was damaged.
        """
        chosen = version or self.aliases().get("champion")
        if chosen is None:
            raise UsageError(
                "the registry has no champion",
                where=self.folder,
                expected="a model that a training run registered",
                fix="Run `headrace run static` with this root, or specify a version",
            )
        return Registered(chosen, self.path(chosen))

    def aliases(self) -> dict[str, str]:
        """The version of each alias.

        Raises:
            DataError: aliases.json was damaged.
        """
        uri = storage.join(self.folder, "aliases.json")
        if not storage.exists(uri):
            return {}
        found = storage.read_json(uri)
        if not isinstance(found, dict) or not all(isinstance(version, str) for version in found.values()):
            raise DataError("the aliases are damaged", where=uri, expected="an object of strings", received=repr(found))
        return dict(found)

    def set_aliases(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Sets aliases to versions, atomically; an alias with None is removed, others do not change.

        Returns:
            All aliases after the change.

        Raises:
            UsageError: an alias that is not a valid name, or a version that is not registered.
            PlatformError: another process held the registry's lock for too long.
        """
        for alias, version in changes.items():
            if not isinstance(alias, str) or not _ALIAS.match(alias):
                raise UsageError(
                    "the alias is not valid",
                    where=self.folder,
                    expected="1 to 64 lower-case letters, digits, - and _, starting with a letter",
                    received=repr(alias),
                )
            if version is not None:
                self.path(version)
        with locked(self.folder):
            return self._write_aliases(self.aliases(), changes)

    def promote(self, version: str) -> dict[str, str]:
        """Makes a version the champion, and the former champion `previous`; promoting the champion changes nothing.

        A promoted challenger loses the alias challenger.

        Returns:
            All aliases after the change.

        Raises:
            UsageError: the version is not registered.
            PlatformError: another process held the registry's lock for too long.
        """
        self.path(version)
        with locked(self.folder):
            aliases = self.aliases()
            champion = aliases.get("champion")
            if champion == version:
                return aliases
            changes: dict[str, str | None] = {"champion": version}
            if champion is not None:
                changes["previous"] = champion
            if aliases.get("challenger") == version:
                changes["challenger"] = None
            return self._write_aliases(aliases, changes)

    def _write_aliases(self, aliases: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
        changed = {alias: version for alias, version in {**aliases, **changes}.items() if version is not None}
        if changed != aliases:
            storage.write_json(storage.join(self.folder, "aliases.json"), dict(sorted(changed.items())))
        return changed

    def _version_uri(self, version: str) -> str:
        return storage.join(self.folder, "versions", check_version(version, self.folder))


def model_version(model_dir: str) -> str:
    """The version of a Model artifact, which is checked to be complete.

    Raises:
        UsageError: the folder holds no Model, or an incomplete one.
        DataError: its version is not a valid name.
    """
    missing = [name for name in _MODEL_FILES if not storage.exists(storage.join(model_dir, name))]
    if missing:
        there = storage.exists(model_dir)
        raise no_artifact("Model", model_dir, received=f"no {', no '.join(missing)}" if there else "")
    return version_of(model_dir)


def check_version(version: object, where: str, kind: type[DataError] | type[UsageError] = UsageError) -> str:
    """Returns `version` if it can be the name of a folder and a part of a URL.

    Raises:
        DataError or UsageError, by `kind`: it cannot.
    """
    if not isinstance(version, str) or not _VERSION.match(version):
        raise kind(
            "the model version is not valid",
            where=where,
            expected="1 to 64 letters, digits, ., - and _, starting with a letter or a digit",
            received=repr(version),
        )
    return version
