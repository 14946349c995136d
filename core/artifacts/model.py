"""Model artifact: one reader of its description for every command and component."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.artifacts.missing import is_there, no_artifact
from headrace.core.errors import DataError

FORMAT = 1
# Files that a registry and an endpoint need, in their order in messages.
_OF_A_VERSION = ("saved_model/saved_model.pb", "schema.json", "problem.json", "golden.json", "training.json")
# A version becomes the name of a folder and a part of a URL.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class ModelArtifact:
    """A Model.

    Attributes:
        uri: its folder, local, on gs:// or s3://.
        version: its model_version.
        training: content of training.json: the record of its training.
        problem: content of problem.json: the declaration that it was trained for.
    """

    uri: str
    version: str
    training: Mapping[str, Any]
    problem: Mapping[str, Any]

    @property
    def saved_model(self) -> str:
        """URI of its SavedModel."""
        return storage.join(self.uri, "saved_model")

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Statistics of the data that it was trained on, by column.

        Raises:
            DataError: statistics.json is missing or damaged.
        """
        columns: Mapping[str, Mapping[str, Any]] = _object(self.uri, "statistics.json", "columns")["columns"]
        return columns

    def columns(self) -> list[dict[str, Any]]:
        """The columns of its schema.json.

        Raises:
            DataError: schema.json is missing or damaged.
        """
        columns: list[dict[str, Any]] = _object(self.uri, "schema.json", "columns")["columns"]
        return columns

    def vocabularies(self) -> Mapping[str, Sequence[str]]:
        """The known categories of each column: declared ones if there are any, else measured ones.

        Raises:
            DataError: statistics.json or problem.json is damaged.
        """
        found: dict[str, Sequence[str]] = {}
        measured = self.statistics() if storage.exists(storage.join(self.uri, "statistics.json")) else {}
        try:
            for name, column in measured.items():
                if column["kind"] == "categorical":
                    found[name] = [str(text) for text, _ in column["vocabulary"]]
            for feature in self.problem.get("features", []):
                if feature.get("vocabulary"):
                    found[feature["name"]] = list(feature["vocabulary"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "the Model is damaged", where=self.uri, expected="categories of each column", received=str(error)
            ) from error
        return found

    def golden(self) -> Mapping[str, Any] | None:
        """The content of golden.json, its golden rows; None without golden rows.

        Raises:
            DataError: the file is damaged.
        """
        return _object(self.uri, "golden.json") if storage.exists(storage.join(self.uri, "golden.json")) else None


def open_model(uri: str, *, option: str = "") -> ModelArtifact:
    """Opens the Model in a folder.

    Args:
        uri: the folder.
        option: of the command line that named it, for the error.

    Raises:
        UsageError: the folder contains no Model.
        DataError: the Model is damaged.
    """
    version = version_of(uri, option=option)
    if not storage.exists(storage.join(uri, "saved_model", "saved_model.pb")):
        raise DataError(
            "the Model holds no SavedModel",
            where=storage.join(uri, "saved_model"),
            expected="saved_model.pb in it",
            fix="Copy the Model again, or train again",
        )
    return ModelArtifact(uri, version, training_of(uri), _object(uri, "problem.json", "label"))


def version_of(uri: str, *, option: str = "") -> str:
    """The version of the Model in a folder, without reading the rest; arguments and errors as `open_model`."""
    if not is_there("Model", uri):
        raise no_artifact("Model", uri, option=option)
    version = training_of(uri).get("model_version")
    if not isinstance(version, str) or not _VERSION.match(version):
        raise DataError(
            "the model version is not valid",
            where=storage.join(uri, "training.json"),
            expected="1 to 64 letters, digits, ., - and _, starting with a letter or a digit",
            received=repr(version),
        )
    return version


def complete_version(uri: str) -> str:
    """The version of the Model in a folder, with all files that a registry and an endpoint need.

    Raises:
        UsageError: the folder contains no Model, or an incomplete one.
        DataError: its version is not a valid name.
    """
    missing = [name for name in _OF_A_VERSION if not storage.exists(storage.join(uri, name))]
    if missing:
        raise no_artifact("Model", uri, received=f"no {', no '.join(missing)}" if storage.exists(uri) else "")
    return version_of(uri)


def training_of(uri: str) -> Mapping[str, Any]:
    """The content of training.json of the Model in a folder, without reading the rest.

    Raises:
        DataError: the file is missing or damaged.
    """
    return _object(uri, "training.json", "model_version")


def _object(uri: str, name: str, field: str = "") -> dict[str, Any]:
    where = storage.join(uri, name)
    value = storage.read_json(where)
    if not isinstance(value, dict) or (field and field not in value):
        raise DataError(
            "the Model is damaged",
            where=where,
            expected=f'an object with "{field}"' if field else "an object",
            received=", ".join(value) if isinstance(value, dict) else type(value).__name__,
        )
    return value
