"""Examples as training reads them, and what is wrong with a shard that TensorFlow could not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from headrace.core.artifacts import open_examples as examples_artifact
from headrace.core.artifacts.open_examples import Split, unreadable
from headrace.core.errors import DataError
from headrace.core.problem import Problem

__all__ = [
    "Examples",
    "Split",
    "blaming_shards",
    "damage_of",
    "open_examples",
    "said_by",
    "suspect_errors",
    "unreadable",
]

# As TensorFlow tells where a record is damaged.
_RECORD = re.compile(r"(corrupted|truncated) record at (\d+)")
_OPERATIONS = re.compile(r"\{\{.*?\}\}\s*|\s*\[(?:Op:|\[\{).*", re.DOTALL)


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
        UsageError: the folder holds no Examples.
        DataError: they were made for other columns, a shard is missing or cut short, or a split that training needs is
            empty.
    """
    opened = examples_artifact.open_examples(uri, problem)
    return Examples(uri, opened.manifest.identity, opened.statistics, opened.split("train"), opened.split("eval"))


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
