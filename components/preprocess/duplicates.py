"""Duplicates: faults that only a pass over the whole data shows, found before the pipeline runs.

They are keys that other Examples already have, and rows that equal an earlier row, or a row of other Examples, except
for their key. A pass over the data runs only if one of them is requested. Other Examples are compared by their stored
fingerprints: their shards are not read.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headrace.components.preprocess.append_index import KEYS, ROWS, kept_fingerprints
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.quarantine import Fault
from headrace.core.problem import Problem
from headrace.core.rows.derive import with_derived
from headrace.core.rows.numbering import content_fingerprint, content_texts
from headrace.core.rows.read import read_column, read_rows
from headrace.core.rows.splits import Fingerprints, fingerprint
from headrace.core.rows.validate import validate
from headrace.core.sources.source import Part
from headrace.core.values.columns import as_text

Marks = dict[int, dict[int, Fault]]

# Number of files over which rows are distributed by content; each file is checked in memory. A bucket is a range of
# fingerprints, which is a slice of sorted ones.
_BUCKETS = 64
_BUCKET_BITS = np.uint64(58)
_ENTRY = np.dtype([("content", "<u8"), ("key", "<u8"), ("part", "<i4"), ("row", "<i8")])


def find_marks(problem: Problem, parts: Sequence[Part], existing: Sequence[str], batch_rows: int) -> Marks:
    """The rows at fault, by index of the part and number of the row.

    Keys and rows are compared by 64-bit fingerprints: with ten million new and a hundred million existing ones, the
    probability of any false match is below 0.0001.

    Args:
        problem: its `duplicate_rows` decides whether equal rows are searched.
        parts: the data.
        existing: Examples on this machine whose keys (and rows) are in use; their sketches are complete.
        batch_rows: rows per batch.

    Raises:
        DataError: the data or the Examples are damaged.
    """
    marks: Marks = defaultdict(dict)
    if existing and problem.key is not None:
        _mark_taken_keys(marks, problem, problem.key, parts, _Taken(existing, KEYS), batch_rows)
    if problem.duplicate_rows == "quarantine":
        _mark_equal_rows(marks, problem, parts, _Taken(existing, ROWS), batch_rows)
    return dict(marks)


class _Taken:
    """The fingerprints of other Examples, and the name of each of these."""

    def __init__(self, existing: Sequence[str], file: str) -> None:
        self._found: list[tuple[str, Fingerprints]] = []
        for folder in map(Path, existing):
            name = f"span {folder.name}" if folder.parent.name == "spans" else "the Examples"
            self._found.append((name, kept_fingerprints(folder, Manifest.read(str(folder)), file)))

    def holders(self, asked: Fingerprints, bucket: int) -> dict[int, str]:
        """The indices of the fingerprints, all of one bucket, that exist, and the Examples with each."""
        held: dict[int, str] = {}
        first = np.uint64(bucket) << _BUCKET_BITS
        last = first | ((np.uint64(1) << _BUCKET_BITS) - np.uint64(1))
        for name, known in self._found:
            begin, end = np.searchsorted(known, first), np.searchsorted(known, last, side="right")
            for place in np.flatnonzero(np.isin(asked, known[begin:end])).tolist():
                held.setdefault(place, name)
        return held

    def counts(self, asked: Fingerprints) -> npt.NDArray[np.int64]:
        """The number of rows with each fingerprint."""
        total = np.zeros(len(asked), np.int64)
        for _, known in self._found:
            total += np.searchsorted(known, asked, side="right") - np.searchsorted(known, asked)
        return total


def find_earlier(problem: Problem, parts: Sequence[Part], existing: Sequence[str], batch_rows: int) -> dict[str, int]:
    """The number of rows of other Examples with the content of each new row, for a Problem without a key.

    Args: as of `find_marks`. Raises as it does.
    """
    found: dict[str, int] = {}
    if problem.key is not None or not existing:
        return found
    taken = _Taken(existing, ROWS)
    for part in parts:
        for rows in read_rows(problem, part, batch_rows):
            batch = validate(problem, with_derived(problem, rows)).batch
            contents = np.unique(content_fingerprint(batch.select(batch.schema.names[1:])))
            counts = taken.counts(contents)
            texts = content_texts(contents[counts > 0]).to_pylist()
            found.update(zip(texts, counts[counts > 0].tolist(), strict=True))
    return found


def _mark_taken_keys(
    marks: Marks, problem: Problem, key: str, parts: Sequence[Part], taken: _Taken, batch_rows: int
) -> None:
    holders: dict[int, dict[int, str]] = defaultdict(dict)
    with _bucket_files() as buckets:
        for part in parts:
            for rows in read_column(problem, part, key, batch_rows):
                keys = as_text(rows.batch.column(0))
                entries = np.zeros(len(keys) - keys.null_count, _ENTRY)
                entries["content"] = fingerprint(keys.drop_null())
                entries["part"] = part.index
                entries["row"] = rows.numbers[np.asarray(keys.is_valid())]
                _put_aside(entries, buckets)
        for bucket, entries in _filled(buckets):
            for place, name in taken.holders(entries["content"], bucket).items():
                holders[int(entries["part"][place])][int(entries["row"][place])] = name
    for part in parts:
        mine = holders.get(part.index, {})
        for rows in read_column(problem, part, key, batch_rows) if mine else ():
            for number, value in zip(rows.numbers.tolist(), as_text(rows.batch.column(0)).to_pylist(), strict=True):
                if number in mine:
                    message = f'{key} is "{value}", which a row of {mine[number]} has already'
                    marks[part.index][number] = Fault(key, "duplicate_key", message)


def _mark_equal_rows(marks: Marks, problem: Problem, parts: Sequence[Part], taken: _Taken, batch_rows: int) -> None:
    """Marks each row that equals an earlier one of another key; one of the same key is found as a duplicate key."""
    with _bucket_files() as buckets:
        for part in parts:
            for rows in read_rows(problem, part, batch_rows):
                checked = validate(problem, with_derived(problem, rows), marks.get(part.index))
                entries = np.zeros(checked.batch.num_rows, _ENTRY)
                if not len(entries):
                    continue
                # The first column is the key.
                entries["content"] = content_fingerprint(checked.batch.select(checked.batch.schema.names[1:]))
                entries["part"], entries["row"] = part.index, checked.numbers
                # Without a key, no two rows have the same one.
                entries["key"] = (
                    np.uint64(part.index) << np.uint64(40) | checked.numbers.astype(np.uint64)
                    if problem.key is None
                    else fingerprint(checked.batch.column(0))
                )
                _put_aside(entries, buckets)
        for bucket, entries in _filled(buckets):
            _mark_bucket(marks, parts, entries, taken, bucket, "" if problem.key is None else " in all but its key")


@contextmanager
def _bucket_files() -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="headrace-rows-") as folder:
        yield [Path(folder) / f"{bucket}" for bucket in range(_BUCKETS)]


def _put_aside(entries: npt.NDArray[np.void], buckets: Sequence[Path]) -> None:
    which = entries["content"] >> _BUCKET_BITS
    for bucket in np.unique(which).tolist():
        with buckets[bucket].open("ab") as file:
            file.write(entries[which == bucket].tobytes())


def _filled(buckets: Sequence[Path]) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
    """The buckets with entries, in the order in which these were stored."""
    for bucket, path in enumerate(buckets):
        if path.exists():
            yield bucket, np.fromfile(path, _ENTRY)


def _mark_bucket(
    marks: Marks, parts: Sequence[Part], entries: npt.NDArray[np.void], taken: _Taken, bucket: int, but: str
) -> None:
    names = {part.index: part.name for part in parts}
    entries = entries[np.lexsort((entries["row"], entries["part"], entries["content"]))]
    starts = np.flatnonzero(np.diff(entries["content"], prepend=entries["content"][:1] + np.uint64(1)))
    first = entries[np.repeat(starts, np.diff(starts, append=len(entries)))]
    equals = {
        place: f"row {int(first['row'][place])} of {names[int(first['part'][place])]}"
        for place in np.flatnonzero(entries["key"] != first["key"]).tolist()
    }
    equals |= {place: f"one of {name}" for place, name in taken.holders(entries["content"], bucket).items()}
    for place, other in equals.items():
        part, row = int(entries["part"][place]), int(entries["row"][place])
        marks[part][row] = Fault(None, "duplicate_row", f"the row equals {other}{but}")
