"""The work of the pipeline's stages, without Beam: rows to pieces, one a batch; pieces to shards; all to one account.

Where all workers are on one machine, rows wait between the stages in files of a work folder, and the pipeline itself
moves only where they are: its in-memory shuffle would hold the whole table, and a multi-process one would send it
through sockets twice. Workers on several machines share no disk, and there the rows travel through the runner's own
shuffle, as Arrow IPC: a piece for each batch and shard would be a hundred thousand small objects in a bucket, of which
every shard reads its own by range, where Dataflow's shuffle is made for that, and drops what a failed bundle left.
Either way memory holds a batch or a shard, however large the table is, and a bundle that is tried again writes the
same files again.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.preprocess.append_index import fingerprints
from headrace.core import storage
from headrace.core.artifacts.examples import Shard
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_lines
from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.core.problem import Problem
from headrace.core.rows.splits import Sharding, fingerprint
from headrace.core.rows.validate import validate, wanted_columns
from headrace.core.sources.open import read_part
from headrace.core.sources.source import Part, Rows
from headrace.core.statistics.file import to_bytes
from headrace.core.statistics.measure import TableStatistics, merge_all
from headrace.core.tfrecord.framing import TFRecordWriter

# Rows of a shard that are encoded and written at once.
_WRITE_ROWS = 8192
# Faults of a batch that go along with its account, to be shown where the budget is spent.
_EXAMPLES = 5

# The work folder's file of the train split's statistics, as sketches that merge.
STATISTICS_ASIDE = "statistics.arrow"

Position = tuple[int, int]
Addition = Literal["", "span", "append"]


@dataclass(frozen=True)
class Job:
    """What every stage needs to know.

    Attributes:
        problem: what is asked of the rows.
        sharding: which shard each row belongs to.
        output: the folder that becomes the artifact.
        batch_rows: rows of a batch, at most.
        marks: faults that a look at the whole data found before, by part and row; see `marks`.
        work_folder: where the stages leave files to each other; `.work` in the output if empty.
        spills: whether rows wait in files of the work folder, or travel through the runner.
        addition: what the rows are added to Examples as, if they are; what is asked of the whole is asked there.
    """

    problem: Problem
    sharding: Sharding
    output: str
    batch_rows: int
    marks: Mapping[int, Mapping[int, Fault]] = field(default_factory=dict)
    addition: Addition = ""
    _: KW_ONLY
    work_folder: str = ""
    spills: bool = True

    @property
    def work(self) -> str:
        """The folder where the stages leave files to each other: local if `spills`, any URI otherwise."""
        return self.work_folder or storage.join(self.output, ".work")

    def put_aside(self, name: str, content: bytes) -> None:
        """Writes a file of the work folder; a second try writes the same one again."""
        if self.spills:
            with self.spilling():
                (Path(self.work) / name).write_bytes(content)
        else:
            storage.write_bytes(storage.join(self.work, name), content)

    @contextmanager
    def spilling(self) -> Iterator[None]:
        """Turns what the system says of writing to the work folder into our errors; that it is gone is no user's fault.

        Raises:
            UsageError: it cannot be written.
            PlatformError: it is gone, the disk is full or failed.
        """
        with storage.writing(self.output):
            try:
                yield
            except FileNotFoundError as error:
                raise PlatformError("the work folder is gone", where=self.work, received=str(error)) from error

    def aside(self, pattern: str) -> list[str]:
        """The files of the work folder that match, in the order of their names."""
        if not storage.is_remote(self.work):
            return sorted(str(path) for path in Path(self.work).glob(pattern))
        try:
            return storage.list_files(storage.join(self.work, pattern), (PurePath(pattern).suffix,))
        except DataError:
            return []


@dataclass(frozen=True)
class Piece:
    """The rows of one batch that belong to one shard.

    Attributes:
        position: of the batch.
        path, index: the Arrow file where they wait, and which record batch of it they are.
        content: themselves, as a stream of Arrow IPC, where there is no such file.
    """

    position: Position
    path: str
    index: int
    content: bytes = b""


@dataclass(frozen=True)
class BatchAccount:
    """What came of a batch: rows read, rows that broke a rule by reason, the first few, and `Checked.seen`."""

    position: Position
    rows: int
    reasons: Counter[str]
    examples: tuple[QuarantinedRow, ...]
    seen: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ShardAccount:
    """What came of a shard; statistics only for the train split."""

    shard: int
    written: Shard
    statistics: TableStatistics | None
    duplicates: int

    @property
    def reasons(self) -> Mapping[str, int]:
        """Rows that broke a rule, by reason."""
        return {"duplicate_key": self.duplicates} if self.duplicates else {}


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
        checked = validate(job.problem, rows, job.marks.get(rows.part.index))
        name = "{:05d}-{:012d}".format(*rows.position)
        if checked.quarantined:
            job.put_aside(f"quarantine-{name}.jsonl", to_lines(checked.quarantined))
        pieces = _cut(job, checked.batch, checked.numbers)
        if job.spills:
            path = Path(job.work) / f"piece-{name}-{rows.count}.arrow"
            with job.spilling():
                _write_pieces(path, [batch for _, batch in pieces])
    except HeadraceError as error:
        yield Refusal(rows.position, error.at(rows.part.path).to_json())
        return
    for index, (shard, batch) in enumerate(pieces):
        if job.spills:
            yield shard, Piece(rows.position, str(path), index)
        else:
            yield shard, Piece(rows.position, "", 0, _to_stream(batch))
    reasons = Counter(str(row.fault.reason) for row in checked.quarantined)
    yield BatchAccount(rows.position, rows.count, reasons, checked.quarantined[:_EXAMPLES], checked.seen)


def _cut(job: Job, batch: pa.RecordBatch, numbers: Any) -> list[tuple[int, pa.RecordBatch]]:
    """The rows of each shard that has some, in the shards' order, with the rows' numbers as their first column."""
    batch = pa.RecordBatch.from_arrays(
        [pa.array(numbers, pa.int64()), *batch.columns], names=["row number", *batch.schema.names]
    )
    assigned = job.sharding.shard_of(fingerprint(batch.column(1)))
    order = np.argsort(assigned, kind="stable")
    shards, starts = np.unique(assigned[order], return_index=True)
    sorted_batch = batch.take(pa.array(order))
    ends = [*starts.tolist()[1:], batch.num_rows]
    bounds = zip(shards.tolist(), starts.tolist(), ends, strict=False)
    return [(int(shard), sorted_batch.slice(start, end - start)) for shard, start, end in bounds]


def _write_pieces(path: Path, pieces: list[pa.RecordBatch]) -> None:
    """Writes the pieces of a batch as one Arrow file; one without pieces counts as progress all the same."""
    unfinished = path.with_name(f".{path.name}")
    schema = pieces[0].schema if pieces else pa.schema([])
    with pa.ipc.new_file(unfinished, schema) as file:
        for piece in pieces:
            file.write_batch(piece)
    # Progress is counted by these names.
    unfinished.rename(path)


def _to_stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_shard(job: Job, shard: int, pieces: Iterable[Piece]) -> Account:
    """Writes a shard: its rows in the order of files and rows, without those whose key has been seen.

    Rows of one key have one fingerprint, so they meet here, and no other shard needs to be asked.
    """
    ordered = sorted(pieces, key=lambda piece: piece.position)
    split, file = job.sharding.name(shard)
    try:
        with storage.writing(job.output):
            batches = [_read_piece(piece) for piece in ordered]
        table = pa.Table.from_batches(batches)
        table, duplicates = _without_duplicates(job, shard, table, ordered, [batch.num_rows for batch in batches])
        # The first column is the row's number, which the Example does not hold.
        table = table.remove_column(0).combine_chunks()
        written = write_records(job, file, table.to_batches(_WRITE_ROWS))
        if job.addition:
            for name, prints in fingerprints(job.problem, table.to_batches()).items():
                job.put_aside(f"{name}-{shard:05d}.u64", prints.tobytes())
    except HeadraceError as error:
        return Refusal(ordered[0].position, error.to_json())
    statistics = None
    if split == "train":
        names = [*(feature.name for feature in job.problem.columns), job.problem.label.name]
        statistics = TableStatistics.measure(table, names)
    return ShardAccount(shard, written, statistics, duplicates)


def write_records(job: Job, file: str, batches: Iterable[pa.RecordBatch]) -> Shard:
    """Writes a shard of the output, which gets its name when it is whole.

    Raises:
        UsageError: it cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    uri = storage.join(job.output, file)
    if not storage.is_remote(uri):
        return _write_local(storage.local_path(uri), file, batches)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PurePath(file).name
        shard = _write_local(path, file, batches)
        # An object is there when all of it is, so a worker that dies on the way leaves nothing.
        storage.write_bytes(uri, path.read_bytes())
    return shard


def _write_local(path: Path, file: str, batches: Iterable[pa.RecordBatch]) -> Shard:
    with TFRecordWriter(path) as writer:
        for batch in batches:
            writer.write_examples(batch)
    return Shard(file, writer.rows, writer.bytes, writer.crc32c)


def _read_piece(piece: Piece) -> pa.RecordBatch:
    if piece.content:
        return pa.ipc.open_stream(piece.content).read_next_batch()
    # Not mapped: of each page that is touched, its neighbours come into memory too, from as many files as batches.
    with pa.OSFile(piece.path) as file:
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
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, found.schema) as file:
        file.write_table(found)
    job.put_aside(f"duplicates-{shard:05d}.arrow", sink.getvalue().to_pybytes())
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
        seen: `Checked.seen` of all batches.
    """

    errors: list[dict[str, Any]]
    rows: dict[int, int]
    reasons: dict[str, int]
    examples: list[dict[str, Any]]
    shards: dict[int, Shard]
    statistics: dict[str, Any] | None
    seen: dict[str, int]


def write_summary(job: Job, accounts: Iterable[Account]) -> None:
    """Merges all accounts in the order of rows and shards, whatever order they came in, and puts them on record."""
    every = list(accounts)
    batches = sorted((a for a in every if isinstance(a, BatchAccount)), key=lambda account: account.position)
    shards = sorted((a for a in every if isinstance(a, ShardAccount)), key=lambda account: account.shard)
    refusals = sorted((a for a in every if isinstance(a, Refusal)), key=lambda account: account.position)
    reasons: Counter[str] = Counter()
    rows: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for batch in batches:
        seen.update(batch.seen)
        reasons.update(batch.reasons)
        rows[batch.position[0]] += batch.rows
    duplicates = sum(shard.duplicates for shard in shards)
    if duplicates:
        reasons["duplicate_key"] += duplicates
    measured = [shard.statistics for shard in shards if shard.statistics is not None and shard.statistics.rows]
    merged = merge_all(measured) if measured else None
    summary = {
        "errors": [refusal.error for refusal in refusals],
        "rows": rows,
        "reasons": dict(sorted(reasons.items())),
        "examples": [json.loads(row.to_line()) for batch in batches for row in batch.examples][:_EXAMPLES],
        "shards": {shard.shard: vars(shard.written) for shard in shards},
        "statistics": merged.to_json() if merged is not None else None,
        "seen": dict(sorted(seen.items())),
    }
    if merged is not None:
        job.put_aside(STATISTICS_ASIDE, to_bytes(merged))
    storage.write_json(storage.join(job.work, "summary.json"), summary)


def read_summary(job: Job) -> Summary:
    """What `write_summary` put on record."""
    plain = storage.read_json(storage.join(job.work, "summary.json"))
    return Summary(
        errors=plain["errors"],
        rows={int(index): rows for index, rows in plain["rows"].items()},
        reasons=plain["reasons"],
        examples=plain["examples"],
        shards={int(number): Shard(**shard) for number, shard in plain["shards"].items()},
        statistics=plain["statistics"],
        seen=plain["seen"],
    )


def read_duplicates(job: Job) -> pa.Table:
    """Rows whose key had been seen, in the order of files and rows: file, row, first_file, first_row, key."""
    tables = [pa.ipc.open_file(storage.read_bytes(path)).read_all() for path in job.aside("duplicates-*.arrow")]
    if not tables:
        return pa.table({name: [] for name in ("file", "row", "first_file", "first_row", "key")})
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table, [("file", "ascending"), ("row", "ascending")]))
