"""Faults that only a look at the whole data shows, found before the pipeline runs: rows by part and number.

A key that other Examples have already, and a row that equals an earlier one in all but its key. Neither costs a pass
over the data unless it is asked for.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.components import storage
from headrace.components.preprocess.sources import Part, read_part
from headrace.components.preprocess.splits import fingerprint
from headrace.components.preprocess.validate import as_text, validate, wanted_columns
from headrace.components.problem import Problem
from headrace.components.tfrecord.decoding import decode
from headrace.components.tfrecord.encoding import encode
from headrace.components.tfrecord.framing import read_records
from headrace.components.tfrecord.manifest import Manifest
from headrace.components.tfrecord.quarantine import Fault

Marks = dict[int, dict[int, Fault]]

# Rows meet those of equal content in one of so many files, each of which is looked at in memory.
_BUCKETS = 64
_ENTRY = np.dtype([("content", "<u8"), ("key", "<u8"), ("part", "<i4"), ("row", "<i8")])


def find_marks(problem: Problem, parts: Sequence[Part], existing: str, batch_rows: int) -> Marks:
    """The rows at fault, by index of the part and number of the row.

    Args:
        problem: whose `duplicate_rows` says whether equal rows are looked for.
        parts: the data.
        existing: Examples whose keys are taken, or "".
        batch_rows: rows that are read at once.

    Raises:
        DataError: the data or the Examples are damaged.
    """
    marks: Marks = defaultdict(dict)
    if existing:
        _mark_taken_keys(marks, problem, parts, existing, batch_rows)
    if problem.duplicate_rows == "quarantine":
        _mark_equal_rows(marks, problem, parts, batch_rows)
    return dict(marks)


def _mark_taken_keys(marks: Marks, problem: Problem, parts: Sequence[Part], existing: str, batch_rows: int) -> None:
    new: set[str] = set()
    for part in parts:
        for rows in read_part(part, [problem.key], batch_rows):
            new.update(as_text(rows.batch.column(0)).drop_null().to_pylist())
    asked = pa.array(sorted(new), pa.string())
    taken: set[str] = set()
    for keys in _keys_of(existing, problem.key):
        taken.update(keys.filter(pc.is_in(keys, asked)).to_pylist())
    if not taken:
        return
    for part in parts:
        for rows in read_part(part, [problem.key], batch_rows):
            for number, key in zip(rows.numbers.tolist(), as_text(rows.batch.column(0)).to_pylist(), strict=True):
                if key in taken:
                    message = f'{problem.key} is "{key}", which a row of the Examples has already'
                    marks[part.index][number] = Fault(problem.key, "duplicate_key", message)


def _keys_of(examples: str, key: str) -> Iterator[pa.Array]:
    for split in Manifest.read(examples).splits.values():
        for shard in split.shards:
            for records in read_records(storage.join(examples, shard.file), compressed=shard.file.endswith(".gz")):
                batch = decode(records, [key])
                if batch.num_rows:
                    yield batch.column(key).cast(pa.string())


def _mark_equal_rows(marks: Marks, problem: Problem, parts: Sequence[Part], batch_rows: int) -> None:
    """Marks each row that equals an earlier one of another key; one of the same key is found as a duplicate key.

    Rows are compared by a 64-bit fingerprint of their Example without its key: among ten million different rows, the
    chance that any two are taken for equal is below 0.00001.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-rows-") as folder:
        buckets = [Path(folder) / f"{bucket}" for bucket in range(_BUCKETS)]
        for part in parts:
            for rows in read_part(part, wanted_columns(problem), batch_rows):
                checked = validate(problem, rows, marks.get(part.index))
                entries = np.zeros(checked.batch.num_rows, _ENTRY)
                if not len(entries):
                    continue
                # The first column is the key.
                entries["content"] = fingerprint(encode(checked.batch.select(checked.batch.schema.names[1:])))
                entries["key"] = fingerprint(checked.batch.column(0))
                entries["part"], entries["row"] = part.index, checked.numbers
                _put_aside(entries, buckets)
        for bucket in buckets:
            if bucket.exists():
                _mark_bucket(marks, parts, np.fromfile(bucket, _ENTRY))


def _put_aside(entries: npt.NDArray[np.void], buckets: Sequence[Path]) -> None:
    which = entries["content"] % np.uint64(_BUCKETS)
    for bucket in np.unique(which).tolist():
        with buckets[bucket].open("ab") as file:
            file.write(entries[which == bucket].tobytes())


def _mark_bucket(marks: Marks, parts: Sequence[Part], entries: npt.NDArray[np.void]) -> None:
    names = {part.index: part.name for part in parts}
    entries = entries[np.lexsort((entries["row"], entries["part"], entries["content"]))]
    starts = np.flatnonzero(np.diff(entries["content"], prepend=entries["content"][:1] + np.uint64(1)))
    first = entries[np.repeat(starts, np.diff(starts, append=len(entries)))]
    for place in np.flatnonzero(entries["key"] != first["key"]).tolist():
        part, row = int(entries["part"][place]), int(entries["row"][place])
        of = f"row {int(first['row'][place])} of {names[int(first['part'][place])]}"
        marks[part][row] = Fault(None, "duplicate_row", f"the row equals {of} in all but its key")
