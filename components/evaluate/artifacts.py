"""Opens the artifacts that evaluation reads, and refuses those that do not belong to the problem or to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.problem import Crossed, Problem


@dataclass(frozen=True)
class Split:
    """One split of Examples: the test split, here.

    Attributes:
        uri: of the Examples.
        identity: of the Examples.
        files: URIs of the shards, in order.
        shard_rows: of each of them.
        rows: in all of them.
        label_statistics: the label's entry in statistics.json, measured on the train split.
    """

    uri: str
    identity: str
    files: tuple[str, ...]
    shard_rows: tuple[int, ...]
    rows: int
    label_statistics: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A Model artifact: its URI, its version, and the local path of its SavedModel."""

    uri: str
    version: str
    saved_model: str


def open_test_split(uri: str, problem: Problem) -> Split:
    """The test split of the Examples at `uri`.

    Raises:
        DataError: these are no Examples, or those of another declaration, or their test split is empty.
    """
    fix = "Run preprocess again with this Problem file"
    manifest = _read(uri, "manifest.json", "Examples")
    if manifest.get("schema_digest") != problem.schema_digest:
        raise DataError(
            "the Examples were made from another declaration of key, label, features or splits",
            where=storage.join(uri, "manifest.json"),
            expected=f'problem "{problem.name}" with schema digest {problem.schema_digest[:12]}',
            received=f'problem "{manifest.get("problem")}", schema digest {str(manifest.get("schema_digest"))[:12]}',
            fix=fix,
        )
    schema = {c["name"]: (c["kind"], c["role"]) for c in _read(uri, "schema.json", "Examples").get("columns", [])}
    for name, wanted in _schema(problem).items():
        if schema.get(name) != wanted:
            raise DataError(
                f'the schema of the Examples does not match column "{name}" of the problem',
                where=storage.join(uri, "schema.json"),
                expected=f"{wanted[0]}, as {wanted[1]}",
                received="no such column" if name not in schema else f"{schema[name][0]}, as {schema[name][1]}",
                fix=fix,
            )
    statistics = _read(uri, "statistics.json", "Examples").get("columns", {})
    if problem.label.name not in statistics:
        raise DataError(
            f'the statistics do not cover the label "{problem.label.name}"',
            where=storage.join(uri, "statistics.json"),
            fix=fix,
        )
    test = manifest["splits"]["test"]
    if not test["rows"]:
        raise DataError(
            "the test split is empty: there is nothing to measure the model on",
            where=uri,
            expected="one row or more",
            received="0 rows",
            fix="Give more rows, or a larger share in Splits(test=...)",
        )
    files = tuple(storage.join(uri, shard["file"]) for shard in test["shards"])
    rows = tuple(int(shard["rows"]) for shard in test["shards"])
    label = statistics[problem.label.name]
    return Split(uri, str(manifest.get("identity", "")), files, rows, int(test["rows"]), label)


def open_model(uri: str, problem: Problem, *, champion: bool = False) -> Model:
    """The Model at `uri`.

    Raises:
        DataError: this is no Model, or it predicts another label.
    """
    role = "champion" if champion else "Model"
    training = _read(uri, "training.json", role)
    declared = _read(uri, "problem.json", role)
    label, wanted = declared.get("label", {}), problem.to_json()["label"]
    for fact in ("kind", "name", "vocabulary"):
        if label.get(fact) != wanted.get(fact):
            raise DataError(
                f"the {role} predicts another label than the problem declares",
                where=storage.join(uri, "problem.json"),
                expected=f"{fact} {wanted.get(fact)!r}",
                received=f"{fact} {label.get(fact)!r}",
                fix="Leave the champion out" if champion else "Train again with this Problem file",
            )
    saved_model = storage.join(uri, "saved_model")
    if not storage.exists(storage.join(saved_model, "saved_model.pb")):
        raise DataError(f"the {role} holds no SavedModel", where=saved_model, expected="saved_model.pb in it")
    return Model(uri, str(training["model_version"]), str(storage.local_path(saved_model)))


def _schema(problem: Problem) -> dict[str, tuple[str, str]]:
    """Kind and role of each column, as schema.json has them."""
    columns = {f.name: (type(f).__name__.lower(), "feature") for f in problem.features if not isinstance(f, Crossed)}
    return columns | {
        problem.label.name: (type(problem.label).__name__.lower(), "label"),
        problem.key: ("key", "key"),
    }


def _read(uri: str, name: str, artifact: str) -> dict[str, Any]:
    """One JSON object of an artifact."""
    path = storage.join(uri, name)
    several = artifact.endswith("s")
    if not storage.exists(path):
        raise DataError(
            f"there {'are' if several else 'is'} no {artifact} here"
            if not storage.exists(uri)
            else f"the {artifact} {'are' if several else 'is'} not whole",
            where=uri,
            expected=f"a folder with {name}",
            received="no such file",
        )
    value = storage.read_json(path)
    if not isinstance(value, dict):
        raise DataError("the file does not hold a JSON object", where=path, received=type(value).__name__)
    return value
