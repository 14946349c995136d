"""TFRecord shards -> batches of prepared tensors, deterministic by seed, from memory where the rows fit in it.

Records are batched before they are parsed, and parsed and prepared once: every step taken record by record costs more
than training does. Rows that fit in memory are held as whole columns. Each epoch is a permutation of them that follows
from (seed, epoch); the permutations one after the other are an endless stream, cut into batches. So every batch is
full and of one static shape, and what is at a place of the stream is a pure function of the seed and the place.

Rows that do not fit are read again each epoch: shards in a new order, up to 8 of them interleaved, and rows permuted
within blocks of 16,384.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.errors import DataError
from headrace.components.problem import Categorical, Numeric, Problem
from headrace.components.train.examples import Examples, Split

# (features by name, labels) of a block or batch of rows.
Rows = tuple[dict[str, Any], Any]
Prepare = Callable[[dict[str, Any]], dict[str, Any]]

BLOCK_ROWS = 16_384
_INTERLEAVED_SHARDS = 8
_INTERLEAVED_ROWS = 256
# Of the memory that is free: blocks and the columns joined from them exist at once, and the model needs its share.
_CACHE_SHARE = 0.25
_CACHE_BYTES_UNKNOWN = 1 << 30
# What TensorFlow holds for a string (24 bytes) and its characters where they are not held inline.
_STRING_BYTES = 48
_GATHERED_ROWS = 2048


@dataclass(frozen=True)
class Columns:
    """Rows held in memory.

    Attributes:
        features: by name, [rows, ...].
        labels: [rows].
        rows: how many.
    """

    features: Mapping[str, Any]
    labels: Any
    rows: int


@dataclass(frozen=True)
class Source:
    """What the training loop reads.

    Attributes:
        batches: an endless dataset of (features, labels), shuffled.
        eval_blocks: an iterable of (features, labels) over the eval split, the same at each pass.
        eval_labels: [rows] labels of the eval split.
        cached: whether the train split is held in memory.
        shuffle: how well it is shuffled, to be read by people.
    """

    batches: Any
    eval_blocks: Any
    eval_labels: Any
    cached: bool
    shuffle: str


def open_source(
    problem: Problem, examples: Examples, prepare: Prepare, *, batch_size: int, seed: int, memory_bytes: int | None
) -> Source:
    """Opens the train and eval splits, held in memory where they fit.

    Args:
        problem: what was declared.
        examples: what is read.
        prepare: raw features by name -> what the loop gets; called while the dataset is traced.
        batch_size: rows a batch.
        seed: of the shuffling.
        memory_bytes: main memory that is free; None if it is not known.

    Raises:
        DataError: a shard is damaged.
    """
    seed %= 1 << 63  # TensorFlow's seeds are int64.
    blocks, eval_blocks = (read_blocks(problem, split, prepare) for split in (examples.train, examples.eval))
    cached = fits_in_memory(blocks, examples.train.rows + examples.eval.rows, memory_bytes)
    if not cached:
        batches = streamed_batches(problem, examples.train, prepare, batch_size, seed)
        labels = np.concatenate([block[1].numpy() for block in eval_blocks])
        shuffle = f"rows within blocks of {BLOCK_ROWS} that mix up to {_INTERLEAVED_SHARDS} shards, read every epoch"
        return Source(batches, eval_blocks, labels, cached, shuffle)
    train, evaluation = load(blocks, examples.train), load(eval_blocks, examples.eval)
    size = range(0, evaluation.rows, BLOCK_ROWS)
    held = [
        (
            {n: c[begin : begin + BLOCK_ROWS] for n, c in evaluation.features.items()},
            evaluation.labels[begin:][:BLOCK_ROWS],
        )
        for begin in size
    ]
    batches = cached_batches(train, batch_size, seed)
    return Source(batches, held, evaluation.labels.numpy(), cached, "a new uniform permutation of all rows every epoch")


def parse(problem: Problem, records: Any) -> Rows:
    """Parses serialized tf.train.Examples.

    Args:
        problem: what was declared.
        records: [rows] strings.

    Returns:
        The features by name, [rows] float32 (missing: NaN) or string (missing: ""), and the labels, [rows] float32
        for regression and int32 indices into the vocabulary for classes.
    """
    parsed = tf.io.parse_example(records, _specification(problem))
    label = parsed.pop(problem.label.name)
    if isinstance(problem.label, Categorical):
        classes = tf.constant(problem.label.vocabulary)
        label = tf.argmax(tf.equal(label[:, None], classes[None, :]), axis=1, output_type=tf.int32)
    return parsed, label


def raw_rows(problem: Problem, split: Split, limit: int) -> dict[str, Any]:
    """The features and the key (as "key", strings) of the first `limit` rows of a split, as numpy arrays."""
    specification = _specification(problem)
    del specification[problem.label.name]
    specification[problem.key] = tf.io.FixedLenFeature([], tf.string)
    with _reading(split):
        records = next(iter(tf.data.TFRecordDataset(list(split.files)).batch(limit)))
        parsed = tf.io.parse_example(records, specification)
    columns = {name: tensor.numpy() for name, tensor in parsed.items()}
    key = columns.pop(problem.key)
    return {**columns, "key": key}


def read_blocks(problem: Problem, split: Split, prepare: Prepare) -> Any:
    """A dataset of a split's rows, in their order, in prepared blocks of up to 16,384."""
    records = tf.data.TFRecordDataset(list(split.files)).batch(BLOCK_ROWS)
    return records.map(_preparing(problem, prepare), num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def fits_in_memory(blocks: Any, rows: int, memory_bytes: int | None) -> bool:
    """Whether `rows` rows of the dataset `blocks`, held as columns, leave enough of `memory_bytes` to train in."""
    budget = _CACHE_BYTES_UNKNOWN if memory_bytes is None else memory_bytes * _CACHE_SHARE
    row_bytes = 0
    for tensor in tf.nest.flatten(blocks.element_spec):
        width = int(np.prod([size or 1 for size in tensor.shape[1:]], dtype=np.int64))
        row_bytes += width * (_STRING_BYTES if tensor.dtype == tf.string else tensor.dtype.size)
    return rows * row_bytes <= budget


def load(blocks: Any, split: Split) -> Columns:
    """Reads every block into memory.

    Raises:
        DataError: a shard is damaged, or the rows are not as many as the manifest says.
    """
    with _reading(split), tf.device("CPU:0"):
        read = list(blocks)
        features = {name: tf.concat([block[0][name] for block in read], axis=0) for name in read[0][0]}
        labels = tf.concat([block[1] for block in read], axis=0)
    rows = int(labels.shape[0])
    if rows != split.rows:
        raise DataError(
            "the shards do not hold the rows of their manifest",
            where=", ".join(split.files[:1]),
            expected=f"{split.rows} rows",
            received=f"{rows} rows",
            fix="Run `headrace preprocess` again",
        )
    return Columns(features, labels, rows)


def cached_batches(columns: Columns, batch_size: int, seed: int) -> Any:
    """An endless dataset of shuffled batches of rows in memory, each of exactly `batch_size` rows."""
    # Several batches are gathered at once: for small ones, what a call costs is most of what a batch costs.
    gathered = max(1, _GATHERED_ROWS // batch_size)

    @tf.autograph.experimental.do_not_convert
    def permutation(epoch: Any) -> Any:
        # tf.random.experimental.index_shuffle would give single places of it, but is far from uniform.
        return tf.random.experimental.stateless_shuffle(tf.range(columns.rows), tf.stack([seed, epoch]))

    @tf.autograph.experimental.do_not_convert
    def gather(chosen: Any) -> Rows:
        def take(column: Any) -> Any:
            return tf.reshape(tf.gather(column, chosen), [gathered, batch_size, *column.shape[1:]])

        return {name: take(column) for name, column in columns.features.items()}, take(columns.labels)

    with tf.device("CPU:0"):
        permutations = tf.data.Dataset.range(np.iinfo(np.int64).max).map(permutation)
        chosen = permutations.rebatch(gathered * batch_size, drop_remainder=True)
        return chosen.map(gather, num_parallel_calls=tf.data.AUTOTUNE).unbatch().prefetch(tf.data.AUTOTUNE)


def streamed_batches(problem: Problem, split: Split, prepare: Prepare, batch_size: int, seed: int) -> Any:
    """An endless dataset of shuffled batches of rows read from their shards, each of exactly `batch_size` rows."""
    files = tf.constant(split.files)
    prepared = _preparing(problem, prepare)

    @tf.autograph.experimental.do_not_convert
    def epoch(number: Any) -> Any:
        shards = tf.random.experimental.stateless_shuffle(files, tf.stack([tf.constant(seed, tf.int64), number]))
        records = tf.data.Dataset.from_tensor_slices(shards).interleave(
            lambda shard: tf.data.TFRecordDataset(shard).batch(_INTERLEAVED_ROWS),
            cycle_length=_INTERLEAVED_SHARDS,
            num_parallel_calls=tf.data.AUTOTUNE,
        )

        @tf.autograph.experimental.do_not_convert
        def shuffled(block: Any, raw: Any) -> Any:
            # Blocks of one epoch are told apart in the upper half of the second seed.
            where = tf.stack([tf.constant(seed, tf.int64), number + block * (1 << 32)])
            return prepared(tf.random.experimental.stateless_shuffle(raw, where))

        return records.rebatch(BLOCK_ROWS).enumerate().map(shuffled, num_parallel_calls=tf.data.AUTOTUNE)

    epochs = tf.data.Dataset.range(np.iinfo(np.int64).max).flat_map(epoch)
    return epochs.rebatch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _specification(problem: Problem) -> dict[str, Any]:
    def feature(column: Numeric | Categorical) -> Any:
        if isinstance(column, Numeric):
            return tf.io.FixedLenFeature([], tf.float32, default_value=float("nan"))
        return tf.io.FixedLenFeature([], tf.string, default_value="")

    return {column.name: feature(column) for column in (*problem.columns, problem.label)}


def _preparing(problem: Problem, prepare: Prepare) -> Any:
    # Converting Keras' code would take longer than tracing it.
    @tf.autograph.experimental.do_not_convert
    def prepared(records: Any) -> Rows:
        features, labels = parse(problem, records)
        return prepare(features), labels

    return prepared


@contextmanager
def _reading(split: Split) -> Iterator[None]:
    """Turns what TensorFlow says about a damaged shard into one of our errors."""
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        raise DataError(
            "a shard cannot be read",
            where=", ".join(split.files),
            expected="whole TFRecords of tf.train.Example",
            received=error.message,
            fix="Run `headrace preprocess` again",
        ) from error
