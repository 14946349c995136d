"""Pipeline stages, without Beam: rows to pieces, one per batch; pieces to shards; counts to one account.

Where all workers are on one machine, rows wait between the stages in files of a work folder, and the pipeline itself
moves only where they are: its in-memory shuffle would hold the whole table, and a multi-process one would send it
through sockets twice. Workers on several machines share no disk, and there the rows travel through the runner's own
shuffle, as Arrow IPC: a piece for each batch and shard would be a hundred thousand small objects in a bucket, of which
every shard reads its own by range, where Dataflow's shuffle is made for that, and drops what a failed bundle left.
Either way memory holds a batch or a shard, however large the table is, and a bundle that is tried again writes the
same files again.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa

from headrace.components.preprocess.accounts import Account, BatchAccount, Piece, Refusal, ShardAccount
from headrace.components.preprocess.append_index import fingerprints, measure
from headrace.components.preprocess.stage_context import PreprocessContext, rows_of
from headrace.core import storage
from headrace.core.artifacts.examples import Shard
from headrace.core.artifacts.quarantine import to_lines
from headrace.core.errors import HeadraceError
from headrace.core.rows.derive import with_derived
from headrace.core.rows.numbering import number
from headrace.core.rows.read import read_rows
from headrace.core.rows.splits import Fingerprints, fingerprint
from headrace.core.rows.validate import ValidatedRows, validate
from headrace.core.sources.source import Part, Rows
from headrace.core.tfrecord.framing import TFRecordWriter

# Values of a shard that are encoded and written at once, as a rule, and the fewest and the most rows.
_WRITE_VALUES = 1 << 19
_FEWEST_ROWS, _MOST_ROWS = 1 << 13, 1 << 15
# The column of a piece with each row's split; no column of Examples can have the name.
_SPLIT = "row split"
# The column of a piece with the fingerprint of each row's key: a shard whose fingerprints differ has no duplicates.
_PRINT = "row fingerprint"
# Faults of a batch that go along with its account, to be shown where the budget is spent.
_EXAMPLES = 5


def read_batches(context: PreprocessContext, part: Part) -> Iterator[Rows | Refusal]:
    """The rows of a part, by batch; an error is the last item."""
    last = (part.index, 0)
    try:
        for rows in read_rows(context.problem, part, context.batch_rows):
            last = rows.position
            yield rows
    except HeadraceError as error:
        yield Refusal(last, error.to_json())


def split_batch(context: PreprocessContext, rows: Rows | Refusal) -> Iterator[tuple[int, Piece] | Account]:
    """Checks a batch and stores its rows by shard: (shard, Piece) for each shard, and the batch's account."""
    if isinstance(rows, Refusal):
        yield rows
        return
    try:
        checked = validate(context.problem, with_derived(context.problem, rows), context.marks.get(rows.part.index))
        name = "{:05d}-{:012d}".format(*rows.position)
        if checked.quarantined:
            context.put_aside(f"quarantine-{name}.jsonl", to_lines(checked.quarantined))
        pieces = _cut(context, checked)
        if context.spills:
            path = Path(context.work) / f"piece-{name}-{rows.count}.arrow"
            with context.spilling():
                _write_pieces(path, [batch for _, batch in pieces])
    except HeadraceError as error:
        yield Refusal(rows.position, error.at(rows.part.path).to_json())
        return
    for index, (shard, batch) in enumerate(pieces):
        if context.spills:
            yield shard, Piece(rows.position, str(path), index)
        else:
            yield shard, Piece(rows.position, "", 0, _to_stream(batch))
    reasons = Counter(str(row.fault.reason) for row in checked.quarantined)
    yield BatchAccount(rows.position, rows.count, reasons, checked.quarantined[:_EXAMPLES], checked.seen)


def _cut(context: PreprocessContext, checked: ValidatedRows) -> list[tuple[int, pa.RecordBatch]]:
    """The rows of each shard or group with rows, in order.

    The first column is the row's number; after those of the row come its split, if the key does not decide it, and the
    fingerprint of its key, if it has one and the rows stay on this machine.
    """
    columns = {"row number": pa.array(checked.numbers, pa.int64())}
    columns |= dict(zip(checked.batch.schema.names, checked.batch.columns, strict=True))
    prints = fingerprint(checked.batch.column(0))
    if checked.splits is not None:
        columns[_SPLIT] = pa.array(checked.splits, pa.int64())
    if context.spills and context.problem.key is not None:
        columns[_PRINT] = pa.array(prints)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    by_key = context.problem.key is not None and checked.splits is None
    assigned = context.sharding.shard_of(prints) if by_key else context.sharding.group_of(prints)
    # NumPy sorts 16-bit integers by radix, ten times faster.
    narrow = assigned.astype(np.uint16) if assigned.max(initial=0) < 1 << 16 else assigned
    order = np.argsort(narrow, kind="stable")
    shards, starts = np.unique(assigned[order], return_index=True)
    sorted_batch = batch.take(pa.array(order))
    ends = [*starts.tolist()[1:], batch.num_rows]
    bounds = zip(shards.tolist(), starts.tolist(), ends, strict=False)
    return [(int(shard), sorted_batch.slice(start, end - start)) for shard, start, end in bounds]


def _write_pieces(path: Path, pieces: list[pa.RecordBatch]) -> None:
    """Writes the pieces of a batch as one Arrow file; a batch without pieces also counts as progress."""
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


def write_shard(context: PreprocessContext, shard: int, pieces: Iterable[Piece]) -> list[Account]:
    """Writes a shard: its rows in the order of files and rows, without duplicate keys.

    Rows with equal keys have equal fingerprints, so they are in one shard, and no other shard needs to be read. If the
    key does not decide the split, or there is no key, `shard` is the group of the key or the content, which is written
    as a shard of each split.
    """
    ordered = sorted(pieces, key=lambda piece: piece.position)
    try:
        with storage.writing(context.output):
            batches = [_read_piece(piece) for piece in ordered]
        table, duplicates = pa.Table.from_batches(batches), 0
        if context.problem.key is None:
            table = table.set_column(
                1, table.schema.field(1), number(table.column(1).combine_chunks(), context.earlier)
            )
        else:
            rows = [batch.num_rows for batch in batches]
            table, duplicates = _without_duplicates(context, shard, table, ordered, rows)
        accounts: list[Account] = []
        for place, part in _by_split(context, shard, table):
            # The row's number is not part of the Example.
            accounts.append(_written(context, place, part.remove_column(0), 0 if accounts else duplicates))
        return accounts
    except HeadraceError as error:
        return [Refusal(ordered[0].position, error.to_json())]


def _by_split(context: PreprocessContext, group: int, table: pa.Table) -> list[tuple[int, pa.Table]]:
    """The rows of a group by shard, without the column of their split; a shard is one, whose rows are of one split."""
    keyed = context.problem.key is not None
    if _SPLIT in table.schema.names:
        splits = table.column(_SPLIT).to_numpy()
        table = table.drop_columns([_SPLIT])
    elif keyed:
        return [(group, table)]
    else:
        splits = context.sharding.split_of(fingerprint(table.column(1).combine_chunks()))
    shards = context.sharding.shards_of_group(group, splits)
    return [(int(shard), table.filter(pa.array(shards == shard))) for shard in np.unique(shards)]


def _written(context: PreprocessContext, shard: int, table: pa.Table, duplicates: int) -> ShardAccount:
    split, file = context.sharding.name(shard)
    table = table.combine_chunks()
    rows = rows_of(_WRITE_VALUES, table.num_columns, _FEWEST_ROWS, _MOST_ROWS)
    written = write_records(context, file, table.to_batches(rows))
    if context.addition:
        for name, prints in fingerprints(context.problem, table.to_batches()).items():
            context.put_aside(f"{name}-{shard:05d}.u64", prints.tobytes())
    statistics = measure(context.problem, table) if split == "train" else None
    return ShardAccount(shard, written, statistics, duplicates)


def write_records(context: PreprocessContext, file: str, batches: Iterable[pa.RecordBatch]) -> Shard:
    """Writes a shard of the output atomically.

    Raises:
        UsageError: it cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    uri = storage.join(context.output, file)
    if not storage.is_remote(uri):
        return _write_local(storage.local_path(uri), file, batches)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PurePath(file).name
        shard = _write_local(path, file, batches)
        # Objects are written atomically, so a killed worker leaves nothing.
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
    context: PreprocessContext, shard: int, table: pa.Table, pieces: list[Piece], rows: list[int]
) -> tuple[pa.Table, int]:
    """The rows with a new key, and the number of duplicates, which are recorded."""
    if _PRINT in table.schema.names:
        # They are compared in less time than the keys, and equal keys have equal ones.
        prints = table.column(_PRINT).to_numpy()
        table = table.drop_columns([_PRINT])
        if not _any_equal(prints):
            return table, 0
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
    context.put_aside(f"duplicates-{shard:05d}.arrow", sink.getvalue().to_pybytes())
    return table.filter(pa.array(~again)), int(again.sum())


def _any_equal(prints: Fingerprints) -> bool:
    """Whether two fingerprints are equal: only those that share some of their bits are sorted."""
    # Neither those by which a row's shard is chosen, nor those that choose its split.
    bits = min((8 * len(prints)).bit_length(), 24)
    places = ((prints >> np.uint64(32)) & np.uint64((1 << bits) - 1)).astype(np.intp)
    rows = np.arange(len(prints), dtype=np.int32)
    last = np.empty(1 << bits, np.int32)
    last[places] = rows
    shared = np.flatnonzero(last[places] != rows)
    near = np.sort(prints[np.concatenate([shared, np.unique(last[places[shared]])])])
    return bool((near[1:] == near[:-1]).any())
