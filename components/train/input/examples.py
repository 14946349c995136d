"""Examples for training, and the diagnosis of a shard that TensorFlow cannot read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from headrace.core.artifacts import open_examples as examples_artifact
from headrace.core.artifacts.open_examples import SplitFiles, unreadable
from headrace.core.errors import DataError
from headrace.core.problem import Problem

__all__ = [
    "Examples",
    "SplitFiles",
    "blaming_shards",
    "damage_of",
    "open_examples",
    "said_by",
    "suspect_errors",
    "unreadable",
]

# TensorFlow's message about a damaged record.
_RECORD = re.compile(r"(corrupted|truncated) record at (\d+)")
_OPERATIONS = re.compile(r"\{\{.*?\}\}\s*|\s*\[(?:Op:|\[\{).*", re.DOTALL)


@dataclass(frozen=True)
class Examples:
    """An Examples artifact whose manifest, schema and shards agree with each other and with the problem.

    Attributes:
        uri: its folder.
        identity: of the preprocessing that wrote it.
        statistics: by column name, as measured on the train split.
        train, eval: the splits that training reads.
        span_weights: of a window, the weight of a row of each span, by the span's name.
    """

    uri: str
    identity: str
    statistics: Mapping[str, Mapping[str, Any]]
    train: SplitFiles
    eval: SplitFiles
    span_weights: Mapping[str, float] = field(default_factory=dict)


def open_examples(uri: str, problem: Problem) -> Examples:
    """Reads and checks an Examples artifact.

    Raises:
        UsageError: the folder contains no Examples.
        DataError: the Examples have other columns, a shard is missing or truncated, or the train or eval split is
            empty.
    """
    opened = examples_artifact.open_examples(uri, problem)
    manifest, splits = opened.manifest, (opened.split("train"), opened.split("eval"))
    return Examples(uri, manifest.identity, opened.statistics, *splits, manifest.span_weights)


@contextmanager
def blaming_shards(examples: Examples) -> Iterator[None]:
    """Translates TensorFlow's errors about a damaged or missing shard into one of our errors.

    Raises:
        DataError: names the shard. If no shard is damaged, the model failed and its error is raised unchanged.
    """
    try:
        yield
    except suspect_errors() as error:
        damage = damage_of(examples.train, examples.eval)
        if damage is None:
            raise
        raise damage from error


def suspect_errors() -> tuple[type[Exception], ...]:
    """The exceptions that TensorFlow may raise for a damaged shard; the last one is raised by Python functions."""
    from tensorflow import errors

    return (
        errors.DataLossError,
        errors.InvalidArgumentError,
        errors.NotFoundError,
        errors.FailedPreconditionError,
        errors.UnknownError,
    )


def damage_of(*splits: SplitFiles) -> DataError | None:
    """The error of the first shard that is damaged or lacks rows; None if all are complete."""
    import tensorflow as tf

    for split in splits:
        for file, rows in zip(split.files, split.shard_rows, strict=True):
            records = tf.data.TFRecordDataset(file)
            try:
                count = int(records.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1))
            except tf.errors.OpError as error:
                damage = _RECORD.search(error.message)
                if damage is None:
                    return unreadable(file, said_by(error))
                return unreadable(f"{file}, byte {damage[2]}", f"a {damage[1]} record")
            if count != rows:
                return unreadable(file, f"{count} of {rows} records")
    return None


def said_by(error: Any) -> str:
    """The message of a TensorFlow error without the names of its operations."""
    return _OPERATIONS.sub("", error.message).strip()
