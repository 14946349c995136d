"""Training input: TFRecord shards -> batches of prepared tensors, deterministic by seed, cached if the rows fit.

Records are batched before they are parsed, and parsed and prepared once: work per record takes longer than training.
The epochs form one endless stream of rows, which is split into batches. All batches are full and have one static
shape, and the row at a position of the stream is a pure function of the seed and the position.

There are four row orders. The place of the cache decides which one a run uses, and a resumed run uses the same:

- "uniform": small splits are read into memory first. Each epoch is a uniform permutation of the rows.
- "blocks_then_uniform": the first epoch trains on rows as they are read, shuffled by shard and by block (see
  shard_stream.py), and stores them in memory; later epochs are uniform permutations.
- "blocks_then_runs": the same, but stored on local disk, from which runs of rows are read (see row_order.py).
- "blocks": rows that fit in neither are read again in every epoch.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from headrace.components.train.input import row_order
from headrace.components.train.input.batches import Batches, Stream
from headrace.components.train.input.examples import Examples, SplitFiles
from headrace.components.train.input.prepared_blocks import InOrder
from headrace.components.train.input.records import BLOCK_ROWS, Prepare, RowPreparer, raw_rows, row_bytes
from headrace.components.train.input.shard_stream import Shards
from headrace.components.train.options import Input
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Problem

__all__ = ["CachePlacement", "Order", "TrainingInput", "choose_cache", "open_source", "raw_rows"]

Order = Literal["uniform", "blocks_then_uniform", "blocks_then_runs", "blocks"]
Cache = Literal["memory", "disk", "none"]

SHUFFLES: dict[Order, str] = {
    "uniform": "a new uniform permutation of all rows every epoch",
    "blocks_then_uniform": (
        f"the first epoch: shards in a new order, 8 of them mixed, rows permuted within blocks of {BLOCK_ROWS}; "
        "from then on a new uniform permutation of all rows every epoch"
    ),
    "blocks_then_runs": (
        f"the first epoch: shards in a new order, 8 of them mixed, rows permuted within blocks of {BLOCK_ROWS}; "
        f"from then on runs of {row_order.RUN_ROWS} rows in a new uniform order, rows permuted within {BLOCK_ROWS}"
    ),
    "blocks": f"every epoch: shards in a new order, 8 of them mixed, rows permuted within blocks of {BLOCK_ROWS}",
}
# Fraction of free memory: blocks and the columns joined from them exist at once, and the model needs memory too.
_CACHE_SHARE = 0.25
_CACHE_BYTES_UNKNOWN = 1 << 30
_DISK_SHARE = 0.5
# Shards up to this size in bytes are read in about a second, which a uniform first epoch is worth.
_READ_FIRST_BYTES = 64 << 20


@dataclass(frozen=True)
class CachePlacement:
    """Place of the row cache, with the reason.

    Attributes:
        cache: "memory", "disk" or "none".
        why: the reason, as text.
    """

    cache: Cache
    why: str


@dataclass(frozen=True)
class TrainingInput:
    """Input of the training loop.

    Attributes:
        stream: (start step, worker, workers) -> its batches; see `batches`.
        eval_blocks: an iterable of `PreparedRows` over the eval split, the same at each pass.
        eval_labels: [rows] labels of the eval split.
        eval_weights: [rows] sample weights of the eval split; None without.
        place: the place of the train split's cache.
        order: the row order of training; a resumed run requires the same order.
        sharding: "file" or "record": the unit by which workers share the split.
        decoder: description of the decoder of the train split's records.
    """

    stream: Callable[[int, int, int], Stream]
    eval_blocks: Any
    eval_labels: Any
    eval_weights: Any
    place: CachePlacement
    order: Order
    sharding: Literal["file", "record"]
    decoder: str

    def batches(self, start_step: int = 0, worker: int = 0, workers: int = 1) -> Any:
        """An endless dataset of shuffled `PreparedRows`, from a step.

        By record, the workers' concatenated batches are the batch of a single worker. By file, each worker has its own
        stream of its own shards.

        Args:
            start_step: the step of the first batch, from 0.
            worker, workers: the worker's index and the number of workers; all have the same number of rows per batch.

        Raises:
            UsageError: the rows of a batch cannot be divided equally among the workers.
        """
        return self.stream(start_step, worker, workers).batches

    def chunks(self, start_step: int = 0) -> Any:
        """The same for one worker, in chunks of several batches: `PreparedRows` of [batches, rows, ...] each."""
        return self.stream(start_step, 0, 1).chunks

    @property
    def cached(self) -> bool:
        """Whether the train split is cached."""
        return self.place.cache != "none"

    @property
    def shuffle(self) -> str:
        """Describes the shuffling."""
        return SHUFFLES[self.order]

    def to_json(self) -> dict[str, Any]:
        """The content for training.json."""
        by = {
            "record": "by record: every worker reads all shards and uses its rows of each batch",
            "file": "by file: every worker reads its own shards",
        }
        return {
            "cached": self.cached,
            "cache": self.place.cache,
            "why": self.place.why,
            "order": self.order,
            "shuffle": self.shuffle,
            "sharding": by[self.sharding],
            "decoder": self.decoder,
        }


def open_source(
    problem: Problem,
    examples: Examples,
    prepare: Prepare,
    *,
    batch_size: int,
    seed: int,
    memory_bytes: int | None,
    wanted: Input | None = None,
    order: Order | None = None,
    workers: int = 1,
    agree: Callable[[float], float] = float,
) -> TrainingInput:
    """Opens the train and eval splits, cached where they fit.

    Args:
        problem: the Problem.
        examples: the Examples.
        prepare: raw features by name -> features for the loop; called while the dataset is traced.
        batch_size: rows per batch, over all workers.
        seed: seed of the shuffling.
        memory_bytes: free main memory, in bytes; None if unknown.
        wanted: the requested place of the cache, the sharding, and whether the order must be deterministic.
        order: the order of the resumed run.
        workers: number of workers that share the rows.
        agree: returns the maximum over the workers' values. Their caches may be in different places; all workers use
            an order that each of them supports.

    Raises:
        DataError: a shard is damaged.
        UsageError: the rows do not fit in the requested place, or the order is not valid.
    """
    if order is not None and order not in get_args(Order):
        raise UsageError("the order of rows is wrong", expected=" or ".join(get_args(Order)), received=repr(order))
    wanted = wanted or Input()
    seed %= 1 << 63  # TensorFlow's seeds are int64.
    train, evaluation = examples.train, examples.eval
    shards, eval_shards = (Shards.of(problem, split, seed) for split in (train, evaluation))
    prepared = RowPreparer(problem, prepare, weighted=bool(train.weights))
    size = row_bytes(prepared.specification)
    disk_bytes = shutil.disk_usage(tempfile.gettempdir()).free
    place = choose_cache(wanted.cache, (train.rows + evaluation.rows) * size, memory_bytes, disk_bytes)
    order = order or order_of(place, train.size)
    # A faster place can provide the order of a slower one.
    order = get_args(Order)[int(agree(get_args(Order).index(order)))]
    if order == "blocks":
        if place.cache != "none":
            place = CachePlacement(
                "none", "the run started without a cache, or another worker has no space for its rows"
            )
    elif place.cache == "none" and order != "blocks":
        raise UsageError(
            "the resumed run cached its rows, and they do not fit on this machine",
            expected=f"memory or disk for {train.rows * size / 1e9:.1f} GB",
            received=place.why,
            fix="Resume on a machine with more memory or disk, or start a new run with another --checkpoints",
        )
    sharding = _sharding(wanted, place, train, workers)
    for split, its in ((train, shards), (evaluation, eval_shards)):
        if its.total != split.rows:
            raise _other_rows(split, its.total)
    input_ = Batches(shards, prepared, batch_size, wanted.deterministic, memory_bytes)
    stream: Callable[[int, int, int], Stream]
    if order == "blocks":
        stream = input_.by_file if sharding == "file" else input_.streamed
    else:
        in_order: row_order.RowOrder = (
            row_order.ShuffledRuns(train.rows, seed)
            if order == "blocks_then_runs"
            else row_order.Uniform(train.rows, seed)
        )
        stream = input_.cached(train, place.cache, in_order, stream_first=order != "uniform")
    fits = evaluation.rows * size <= (_CACHE_BYTES_UNKNOWN if memory_bytes is None else memory_bytes * _CACHE_SHARE)
    blocks = InOrder(evaluation, eval_shards, prepared)
    held = list(blocks) if fits else blocks
    targets = [tuple(column.numpy() for column in block[1:]) for block in held]
    labels, *weights = (np.concatenate(parts) for parts in zip(*targets, strict=True))
    return TrainingInput(stream, held, labels, weights[0] if weights else None, place, order, sharding, shards.decoder)


def choose_cache(wanted: str, needed: int, memory_bytes: int | None, disk_bytes: int) -> CachePlacement:
    """Chooses the place of the cache: a pure function.

    Args:
        wanted: "auto", or a place.
        needed: size of all rows, in bytes.
        memory_bytes, disk_bytes: free memory and disk space, in bytes; None if unknown.

    Raises:
        UsageError: the rows do not fit in the requested place.
    """
    free = {"memory": memory_bytes, "disk": disk_bytes}
    budget = {
        "memory": _CACHE_BYTES_UNKNOWN if memory_bytes is None else memory_bytes * _CACHE_SHARE,
        "disk": disk_bytes * _DISK_SHARE,
    }
    rows = f"{needed / 1e6:,.0f} MB of prepared rows"
    if wanted == "none":
        return CachePlacement("none", "requested")
    if wanted in ("memory", "disk"):
        there = free[wanted]
        if there is not None and needed > there:
            raise UsageError(
                "the rows do not fit in memory" if wanted == "memory" else "the rows do not fit on disk",
                where=f"--cache {wanted}",
                expected=f"space for {rows}",
                received=f"{there / 1e6:,.0f} MB free",
                fix="Use --cache auto",
            )
        return CachePlacement("memory" if wanted == "memory" else "disk", "requested")
    if needed <= budget["memory"]:
        return CachePlacement("memory", f"{rows} use at most a quarter of the free memory")
    if needed <= budget["disk"]:
        return CachePlacement(
            "disk", f"{rows} are more than a quarter of the free memory, and less than half the free disk"
        )
    return CachePlacement("none", f"{rows} are more than a quarter of the free memory and half the free disk")


def order_of(place: CachePlacement, shard_bytes: int) -> Order:
    """Chooses the order of a new run: a pure function.

    Args:
        place: the place of its cache.
        shard_bytes: size of the shards of the train split.
    """
    if place.cache == "memory":
        return "uniform" if shard_bytes <= _READ_FIRST_BYTES else "blocks_then_uniform"
    return "blocks_then_runs" if place.cache == "disk" else "blocks"


def _sharding(wanted: Input, place: CachePlacement, train: SplitFiles, workers: int) -> Literal["file", "record"]:
    if wanted.sharding == "file":
        if place.cache != "none":
            raise UsageError(
                "cached rows cannot be distributed by file",
                where="--sharding file",
                expected="--cache none, or --sharding record",
                received=f"--cache {place.cache}",
            )
        return "file"
    # Reading dominates the work of a stream: workers would gain nothing if each of them read everything.
    enough = len(train.files) >= max(2, workers)
    return "file" if wanted.sharding == "auto" and place.cache == "none" and enough else "record"


def _other_rows(split: SplitFiles, rows: int) -> DataError:
    return DataError(
        "the shards do not hold the rows of their manifest",
        where=", ".join(split.files[:1]),
        expected=f"{split.rows} rows",
        received=f"{rows} rows",
        fix="Run `headrace preprocess` again",
    )
