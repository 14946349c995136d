"""Reads what describes an Examples artifact, and refuses one that is not whole or not of this problem."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Numeric, Problem

# As TensorFlow tells where a record is damaged.
_RECORD = re.compile(r"(corrupted|truncated) record at (\d+)")
_OPERATIONS = re.compile(r"\{\{.*?\}\}\s*|\s*\[(?:Op:|\[\{).*", re.DOTALL)


@dataclass(frozen=True)
class Split:
    """One split of the rows.

    Attributes:
        rows: how many there are.
        files: local paths of its TFRecord shards that hold rows, in order.
        size: bytes of the shards.
        shard_rows: how many rows each of `files` holds.
    """

    rows: int
    files: tuple[str, ...]
    size: int
    shard_rows: tuple[int, ...]


@dataclass(frozen=True)
class Examples:
    """An Examples artifact whose manifest, schema and shards agree with each other and with the problem.

    Attributes:
        uri: where it is.
        identity: of the preprocessing that made it.
        statistics: by column name, as measured on the train split.
        train, eval: the splits that training reads.
    """

    uri: str
    identity: str
    statistics: Mapping[str, Mapping[str, Any]]
    train: Split
    eval: Split


def open_examples(uri: str, problem: Problem) -> Examples:
    """Reads and checks an Examples artifact.

    Raises:
        UsageError: there is no such folder.
        DataError: it has no manifest, was made for other columns, a shard is missing or cut short, or a split that
            training needs is empty.
    """
    if not storage.local_path(uri).is_dir():
        raise UsageError("there are no Examples", where=uri, expected="a folder that `headrace preprocess` wrote")
    if not storage.exists(storage.join(uri, "manifest.json")):
        raise DataError(
            "these are no whole Examples",
            where=uri,
            expected="manifest.json, which preprocess writes last",
            received="a folder without it",
            fix="Run `headrace preprocess` again",
        )
    manifest = _read(uri, "manifest.json")
    _check_schema(uri, _read(uri, "schema.json"), problem)
    if manifest.get("schema_digest") != problem.schema_digest:
        raise DataError(
            "these Examples were made from another declaration of the problem",
            where=uri,
            expected=f"schema digest {problem.schema_digest[:12]}",
            received=str(manifest.get("schema_digest"))[:12],
            fix="Run `headrace preprocess` again: features, splits or the quarantine budget changed",
        )
    train, evaluation = (_split(uri, manifest, name) for name in ("train", "eval"))
    return Examples(uri, manifest["identity"], _read(uri, "statistics.json")["columns"], train, evaluation)


@contextmanager
def blaming_shards(examples: Examples) -> Iterator[None]:
    """Turns what TensorFlow says of a shard that is damaged or gone, wherever it says it, into one of our errors.

    Raises:
        DataError: it names the shard. Where all of them are whole the model failed, and its error goes on.
    """
    try:
        yield
    except suspect_errors() as error:
        damage = damage_of(examples.train, examples.eval)
        if damage is None:
            raise
        raise damage from error


def suspect_errors() -> tuple[type[Exception], ...]:
    """What TensorFlow may raise where a shard is damaged; where a function of Python met it, the last of them."""
    from tensorflow import errors

    return (
        errors.DataLossError,
        errors.InvalidArgumentError,
        errors.NotFoundError,
        errors.FailedPreconditionError,
        errors.UnknownError,
    )


def damage_of(*splits: Split) -> DataError | None:
    """What is wrong with the first shard that cannot be read, or lacks rows; None where all are whole."""
    import tensorflow as tf

    for split in splits:
        for file, rows in zip(split.files, split.shard_rows, strict=True):
            records = tf.data.TFRecordDataset(file)
            try:
                found = int(records.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1))
            except tf.errors.OpError as error:
                told = _RECORD.search(error.message)
                if told is None:
                    return unreadable(file, said_by(error))
                return unreadable(f"{file}, byte {told[2]}", f"a {told[1]} record")
            if found != rows:
                return unreadable(file, f"{found} of {rows} records")
    return None


def said_by(error: Any) -> str:
    """The words of an error of TensorFlow without the names of its operations."""
    return _OPERATIONS.sub("", error.message).strip()


def unreadable(where: str, received: str) -> DataError:
    """The error of shards that cannot be read."""
    return DataError(
        "a shard cannot be read",
        where=where,
        expected="whole TFRecords of tf.train.Example",
        received=received,
        fix="Run `headrace preprocess` again",
    )


def _read(uri: str, name: str) -> dict[str, Any]:
    where = storage.join(uri, name)
    content: Any = storage.read_json(where)
    if not isinstance(content, dict) or content.get("format") != 1:
        received = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise DataError("this version cannot read the file", where=where, expected="format 1", received=repr(received))
    return content


def _check_schema(uri: str, schema: Mapping[str, Any], problem: Problem) -> None:
    def kind(column: object) -> str:
        return "numeric" if isinstance(column, Numeric) else "categorical"

    expected = {column.name: (kind(column), "feature") for column in problem.columns}
    expected[problem.label.name] = (kind(problem.label), "label")
    found = {
        column["name"]: (column["kind"], column["role"]) for column in schema["columns"] if column["role"] != "key"
    }
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise DataError(
                f'the Examples do not fit the problem: column "{name}"',
                where=storage.join(uri, "schema.json"),
                expected=" ".join(expected.get(name, ("no such column",))),
                received=" ".join(found.get(name, ("no such column",))),
                fix="Run `headrace preprocess` again with this Problem file",
            )


def _split(uri: str, manifest: Mapping[str, Any], name: str) -> Split:
    split = manifest["splits"][name]
    if split["rows"] < 1:
        raise DataError(
            f"the {name} split is empty",
            where=uri,
            expected="one row or more",
            received=", ".join(f"{key}: {value['rows']} rows" for key, value in manifest["splits"].items()),
            fix=f"Give more rows, or a greater share in Splits({name}=...)",
        )
    files: dict[str, int] = {}
    for shard in split["shards"]:
        where = storage.join(uri, shard["file"])
        path = storage.local_path(where)
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            raise DataError(
                "a shard is missing" if size is None else "a shard is damaged",
                where=where,
                expected=f"{shard['bytes']} bytes",
                received="no file" if size is None else f"{size} bytes",
                fix="Run `headrace preprocess` again",
            )
        if shard["rows"]:
            files[str(path)] = shard["rows"]
    size = sum(shard["bytes"] for shard in split["shards"])
    return Split(split["rows"], tuple(files), size, tuple(files.values()))
