"""The work of the pipeline's stages, without Beam: rows to pieces, one a batch; pieces to shards; all to one account.

Between the stages rows wait in files under the output's `.work` folder, and the pipeline itself moves only where they
are. So memory holds a batch or a shard, however large the table is, and a bundle that is tried again writes the same
files again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components import storage
from headrace.components.errors import HeadraceError
from headrace.components.preprocess.sources import Part, Rows, read_part
from headrace.components.preprocess.splits import Sharding, fingerprint
from headrace.components.preprocess.validate import validate, wanted_columns
from headrace.components.problem import Problem
from headrace.components.tfrecord.encoding import encode
from headrace.components.tfrecord.framing import TFRecordWriter
from headrace.components.tfrecord.manifest import Shard
from headrace.components.tfrecord.quarantine import QuarantinedRow, to_lines
from headrace.components.tfrecord.statistics import TableStatistics, merge_all

# Rows of a shard that are encoded and written at once.
_WRITE_ROWS = 8192
# Faults of a batch that go along with its account, to be shown where the budget is spent.
_EXAMPLES = 5

Position = tuple[int, int]


@dataclass(frozen=True)
class Job:
    """What every stage needs to know.

    Attributes:
        problem: what is asked of the rows.
        sharding: which shard each row belongs to.
        output: the folder that becomes the artifact.
        batch_rows: rows of a batch, at most.
    """

    problem: Problem
    sharding: Sharding
    output: str
    batch_rows: int

    @property
    def work(self) -> Path:
        """Where rows wait between the stages."""
        return Path(self.output) / ".work"


@dataclass(frozen=True)
class Piece:
    """The rows of one batch that belong to one shard: record batch `index` of an Arrow file."""

    position: Position
    path: str
    index: int


@dataclass(frozen=True)
class BatchAccount:
    """What came of a batch: rows read, rows that broke a rule by reason, and the first few of them."""

    position: Position
    rows: int
    reasons: Counter[str]
    examples: tuple[QuarantinedRow, ...]


@dataclass(frozen=True)
class ShardAccount:
    """What came of a shard; statistics only for the train split."""

    shard: int
    written: Shard
    statistics: TableStatistics | None
    duplicates: int


@dataclass(frozen=True)
class Refusal:
    """An error that a stage met; it travels as data, because an exception loses its type in a runner."""

    position: Position
    error: dict[str, Any]


Account = BatchAccount | ShardAccount | Refusal


def read_batches(job: Job, part: Part) -> Iterator[Rows | Refusal]:
    """The rows of a part, batch by batch; an error ends it."""
    last = (part.index, 0)
    try:
        for rows in read_part(part, wanted_columns(job.problem), job.batch_rows):
            last = rows.position
            yield rows
    except HeadraceError as error:
        yield Refusal(last, error.to_json())


def split_batch(job: Job, rows: Rows | Refusal) -> Iterator[tuple[int, Piece] | Account]:
    """Checks a batch and puts its rows aside by shard: (shard, Piece) for each shard, and the batch's account."""
    if isinstance(rows, Refusal):
        yield rows
        return
    try:
        checked = validate(job.problem, rows)
        name = "{:05d}-{:012d}".format(*rows.position)
        with storage.writing(job.output):
            if checked.quarantined:
                (job.work / f"quarantine-{name}.jsonl").write_bytes(to_lines(checked.quarantined))
            path = job.work / f"piece-{name}-{rows.count}.arrow"
            shards = _write_pieces(job, path, checked.batch, checked.numbers)
    except HeadraceError as error:
        yield Refusal(rows.position, error.at(rows.part.path).to_json())
        return
    for index, shard in enumerate(shards):
        yield shard, Piece(rows.position, str(path), index)
    reasons = Counter(str(row.fault.reason) for row in checked.quarantined)
    yield BatchAccount(rows.position, rows.count, reasons, checked.quarantined[:_EXAMPLES])


def _write_pieces(job: Job, path: Path, batch: pa.RecordBatch, numbers: Any) -> list[int]:
    """Writes one record batch for each shard that has rows, in the shards' order, and returns these shards."""
    batch = pa.RecordBatch.from_arrays(
        [pa.array(numbers, pa.int64()), *batch.columns], names=["row number", *batch.schema.names]
    )
    assigned = job.sharding.shard_of(fingerprint(batch.column(1)))
    order = np.argsort(assigned, kind="stable")
    shards, starts = np.unique(assigned[order], return_index=True)
    sorted_batch = batch.take(pa.array(order))
    ends = [*starts.tolist()[1:], batch.num_rows]
    unfinished = path.with_name(f".{path.name}")
    with pa.ipc.new_file(unfinished, batch.schema) as file:
        for start, end in zip(starts.tolist(), ends, strict=False):
            file.write_batch(sorted_batch.slice(start, end - start))
    # Progress is counted by these names.
    unfinished.rename(path)
    return [int(shard) for shard in shards]


def write_shard(job: Job, shard: int, pieces: Iterable[Piece]) -> Account:
    """Writes a shard: its rows in the order of files and rows, without those whose key has been seen.

    Rows of one key have one fingerprint, so they meet here, and no other shard needs to be asked.
    """
    ordered = sorted(pieces, key=lambda piece: piece.position)
    split, file = job.sharding.name(shard)
    path = Path(job.output) / file
    try:
        with storage.writing(job.output):
            batches = [_read_piece(piece) for piece in ordered]
        table = pa.Table.from_batches(batches)
        table, duplicates = _without_duplicates(job, shard, table, ordered, [batch.num_rows for batch in batches])
        # The first column is the row's number, which the Example does not hold.
        table = table.remove_column(0).combine_chunks()
        with TFRecordWriter(path) as writer:
            for batch in table.to_batches(_WRITE_ROWS):
                writer.write(encode(batch))
    except HeadraceError as error:
        return Refusal(ordered[0].position, error.to_json())
    statistics = None
    if split == "train":
        names = [*(feature.name for feature in job.problem.columns), job.problem.label.name]
        statistics = TableStatistics.measure(table, names)
    written = Shard(file, writer.rows, writer.bytes, writer.crc32c)
    return ShardAccount(shard, written, statistics, duplicates)


def _read_piece(piece: Piece) -> pa.RecordBatch:
    with pa.memory_map(piece.path) as file:
        return pa.ipc.open_file(file).get_batch(piece.index)


def _without_duplicates(
    job: Job, shard: int, table: pa.Table, pieces: list[Piece], rows: list[int]
) -> tuple[pa.Table, int]:
    """The rows whose key comes for the first time, and how many others there are; these are put on record."""
    keys = table.column(1).combine_chunks().dictionary_encode().indices.to_numpy()
    # Keys are numbered as they come, so one that comes for the first time is above all before it.
    seen = np.maximum.accumulate(keys) if len(keys) else keys
    again = np.zeros(len(keys), np.bool_)
    again[1:] = keys[1:] <= seen[:-1]
    if not again.any():
        return table, 0
    files = np.repeat([piece.position[0] for piece in pieces], rows)
    numbers = table.column(0).to_numpy()
    first = np.zeros(int(keys.max()) + 1, np.int64)
    first[keys[~again]] = np.flatnonzero(~again)
    found = pa.table(
        {
            "file": files[again],
            "row": numbers[again],
            "first_file": files[first[keys[again]]],
            "first_row": numbers[first[keys[again]]],
            "key": table.column(1).filter(pa.array(again)),
        }
    )
    with storage.writing(job.output), pa.ipc.new_file(job.work / f"duplicates-{shard:05d}.arrow", found.schema) as file:
        file.write_table(found)
    return table.filter(pa.array(~again)), int(again.sum())


@dataclass(frozen=True)
class Summary:
    """What came of the whole pipeline.

    Attributes:
        errors: in the order of the rows they are about.
        rows: rows read, by index of the file.
        reasons: rows that broke a rule, by reason.
        examples: the first few of them.
        shards: by number, those that have rows.
        statistics: of the train split, as statistics.json holds them; None where it has no rows.
    """

    errors: list[dict[str, Any]]
    rows: dict[int, int]
    reasons: dict[str, int]
    examples: list[dict[str, Any]]
    shards: dict[int, Shard]
    statistics: dict[str, Any] | None


def write_summary(job: Job, accounts: Iterable[Account]) -> None:
    """Merges all accounts in the order of rows and shards, whatever order they came in, and puts them on record."""
    every = list(accounts)
    batches = sorted((a for a in every if isinstance(a, BatchAccount)), key=lambda account: account.position)
    shards = sorted((a for a in every if isinstance(a, ShardAccount)), key=lambda account: account.shard)
    refusals = sorted((a for a in every if isinstance(a, Refusal)), key=lambda account: account.position)
    reasons: Counter[str] = Counter()
    rows: Counter[int] = Counter()
    for batch in batches:
        reasons.update(batch.reasons)
        rows[batch.position[0]] += batch.rows
    duplicates = sum(shard.duplicates for shard in shards)
    if duplicates:
        reasons["duplicate_key"] += duplicates
    measured = [shard.statistics for shard in shards if shard.statistics is not None and shard.statistics.rows]
    summary = {
        "errors": [refusal.error for refusal in refusals],
        "rows": rows,
        "reasons": dict(sorted(reasons.items())),
        "examples": [json.loads(row.to_line()) for batch in batches for row in batch.examples][:_EXAMPLES],
        "shards": {shard.shard: vars(shard.written) for shard in shards},
        "statistics": merge_all(measured).to_json() if measured else None,
    }
    storage.write_json(str(job.work / "summary.json"), summary)


def read_summary(job: Job) -> Summary:
    """What `write_summary` put on record."""
    plain = storage.read_json(str(job.work / "summary.json"))
    return Summary(
        errors=plain["errors"],
        rows={int(index): rows for index, rows in plain["rows"].items()},
        reasons=plain["reasons"],
        examples=plain["examples"],
        shards={int(number): Shard(**shard) for number, shard in plain["shards"].items()},
        statistics=plain["statistics"],
    )


def read_duplicates(job: Job) -> pa.Table:
    """Rows whose key had been seen, in the order of files and rows: file, row, first_file, first_row, key."""
    tables = []
    for path in sorted(job.work.glob("duplicates-*.arrow")):
        with pa.OSFile(str(path)) as file:
            tables.append(pa.ipc.open_file(file).read_all())
    if not tables:
        return pa.table({name: [] for name in ("file", "row", "first_file", "first_row", "key")})
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table, [("file", "ascending"), ("row", "ascending")]))
