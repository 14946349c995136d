"""Model source: finds the SavedModel at a path, its name, version and interface, without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.artifacts import registered
from headrace.core.artifacts.model import ModelArtifact, open_model
from headrace.core.errors import DataError, ProblemError, UsageError
from headrace.core.rules.mode import Mode
from headrace.core.rules.model import ModelRules
from headrace.core.saved_model.json.columns import Interface
from headrace.core.saved_model.json.inputs import InputFeature
from headrace.core.serving_mode import Serving, serving_of
from headrace.core.values.spellings import spellings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
# TensorFlow Serving numbers versions; a SavedModel without a version is version 1.
_UNKNOWN_VERSION = "1"


@dataclass(frozen=True)
class ServableModel:
    """A model to serve.

    Attributes:
        saved_model: the SavedModel's folder, here or on gs://.
        name: its name in URLs.
        version: the version that responses report.
        interface: the model's inputs; None where only the SavedModel's signature has them.
        warm_up: instances for a first prediction, which is slower than later ones: a Model's golden rows.
        golden: the Model's predictions for them, as JSON.
        prepared: whether it expects columns that a Problem file's prepare function computes.
        rules: the rules of a Model; None for other SavedModels.
        serving: the mode that a Model's Problem declares; None where it declares none.
    """

    saved_model: str
    name: str
    version: str
    interface: Interface | None
    warm_up: tuple[dict[str, Any], ...] = ()
    golden: tuple[dict[str, Any], ...] = ()
    prepared: bool = False
    rules: ModelRules | None = None
    serving: Serving | None = None


def find_source(uri: str, *, name: str | None = None, rules: Mode = "enforce") -> ServableModel:
    """The model at a path.

    Args:
        uri: an Endpoint folder (its live version is used), a Model artifact, or a bare SavedModel; local or on gs://.
        name: overrides the endpoint's, the problem's or the folder's name.
        rules: whether a Model's rules are enforced.

    Raises:
        UsageError: the path has no model that can be served.
        DataError: the model is damaged.
    """
    if storage.exists(storage.join(uri, "endpoint.json")):
        return _of_endpoint(uri, name, rules)
    if storage.exists(storage.join(uri, "saved_model", "saved_model.pb")):
        return _of_model(uri, name, rules)
    if storage.exists(storage.join(uri, "saved_model.pb")):
        return ServableModel(uri, checked_name(name or _last_part(uri)), _UNKNOWN_VERSION, None)
    raise UsageError(
        "the model to serve does not exist",
        where=uri,
        expected="an endpoint's folder, a Model, or a SavedModel",
        received="a folder without endpoint.json or saved_model.pb" if storage.exists(uri) else "nothing",
    )


def verify_source(uri: str, *, threads: int | None = None) -> None:
    """Checks all files of a registered Model; a Model or a SavedModel that was never registered is not checked.

    Args:
        uri: as for `find_source`.
        threads: that read files; as of `registered.verify`.

    Raises:
        DataError: a file is missing or damaged.
    """
    endpoint = storage.exists(storage.join(uri, "endpoint.json"))
    registered.verify(_live(uri)[0] if endpoint else uri, threads=threads)


def _last_part(uri: str) -> str:
    if storage.is_remote(uri):
        return uri.rstrip("/").rsplit("/", 1)[-1]
    return storage.local_path(uri).resolve().name


def _of_endpoint(uri: str, name: str | None, rules: Mode) -> ServableModel:
    model, known = _live(uri)
    return _of_model(model, name or known, rules)


def _live(uri: str) -> tuple[str, Any]:
    """The Model that is live in an endpoint's folder, and the endpoint's name."""
    where = storage.join(uri, "endpoint.json")
    endpoint = _object(where)
    live = endpoint.get("live")
    if not isinstance(live, str):
        raise DataError("no version is live", where=where, expected="a version", received=repr(live))
    return storage.join(uri, "versions", live), endpoint.get("name")


def _of_model(uri: str, name: str | None, mode: Mode) -> ServableModel:
    model = open_model(uri)
    known = model.vocabularies()
    try:
        rules = ModelRules.of(model.problem, known, mode)
    except DataError as error:
        raise error.at(storage.join(uri, "problem.json")) from error
    golden = model.golden() or {}
    return ServableModel(
        model.saved_model,
        checked_name(name or model.problem.get("name")),
        model.version,
        _interface(model, known, rules),
        tuple(golden.get("instances", [])),
        tuple(golden.get("predictions", [])),
        bool(model.problem.get("reads")),
        rules,
        declared_serving(model.problem, storage.join(uri, "problem.json")),
    )


def declared_serving(problem: Mapping[str, Any], where: str) -> Serving | None:
    """The mode that a Model's problem.json declares; None where it declares none.

    Raises:
        DataError: the file is damaged.
    """
    declared = problem.get("serving")
    if declared is None:
        return None
    try:
        return serving_of(declared)
    except (AttributeError, ProblemError) as error:
        raise DataError("the serving mode of the Problem is damaged", where=where, received=str(error)) from error


def _interface(model: ModelArtifact, known: Mapping[str, Sequence[str]], rules: ModelRules) -> Interface:
    columns = model.columns()
    try:
        roles = ("feature", "derived", "input", "label", "weight", "key")
        by_role: dict[str, list[dict[str, Any]]] = {role: [] for role in roles}
        for column in columns:
            by_role[column["role"]].append(column)
        return Interface(
            tuple(
                InputFeature(
                    str(c["name"]),
                    c["kind"],
                    bool(c["optional"]),
                    dtype="float64" if c.get("exponent") or c.get("double") or c.get("exact") else "float32",
                    column=c.get("column"),
                    spellings=spellings(known.get(str(c["name"]), ())),
                    missing=tuple(model.problem.get("missing", ())),
                    rule=rules.inputs.get(str(c["name"])),
                )
                for c in by_role["feature"] + by_role["input"]
            ),
            takes_key=True,
            key_name=next((str(c.get("column", c["name"])) for c in by_role["key"] if not c["optional"]), None),
            rules=rules,
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            "the schema is damaged",
            where=storage.join(model.uri, "schema.json"),
            expected="columns with name, kind, role, optional",
            received=str(error),
        ) from error


def _object(where: str) -> dict[str, Any]:
    value = storage.read_json(where)
    if not isinstance(value, dict):
        raise DataError("it does not hold an object", where=where, expected="{...}", received=type(value).__name__)
    return value


def checked_name(name: object) -> str:
    """A model's name in URLs.

    Raises:
        UsageError: it is not valid.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise UsageError(
            "the model name is not valid",
            expected="1 to 128 letters, digits, ., - and _, starting with a letter or a digit",
            received=repr(name),
            fix="Give another name",
        )
    return name
