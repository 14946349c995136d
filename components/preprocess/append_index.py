"""Append index: files next to the shards of Examples, with which rows can be added without reading the shards.

sketches/statistics.arrow holds the train split's statistics as sketches that merge; sketches/keys.u64 the fingerprints
of all keys, and sketches/rows.u64 those of all rows without their key, where the Problem asks for equal rows to be
found or has no key: unsigned little-endian numbers of 64 bits, sorted. Examples that were made without them are
measured once.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

import google_crc32c
import numpy as np
import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.examples import STATISTICS_SKETCH, Manifest, Shard, Sketch
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.problem.features import stored_as
from headrace.core.rows.numbering import content_fingerprint
from headrace.core.rows.splits import Fingerprints, fingerprint
from headrace.core.statistics.file import from_bytes, to_bytes
from headrace.core.statistics.measure import TableStatistics, merge_all
from headrace.core.statistics.weighted import WeightedLabel
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

STATISTICS, KEYS, ROWS = STATISTICS_SKETCH, "sketches/keys.u64", "sketches/rows.u64"
_FINGERPRINT = np.dtype("<u8")


def keep(examples: str, file: str, content: bytes) -> Sketch:
    """Writes a file of `sketches/`; returns its entry for the manifest."""
    storage.write_bytes(storage.join(examples, file), content)
    return Sketch(file, len(content), f"{google_crc32c.value(content):08x}")


def complete(problem: Problem, examples: Path) -> Manifest:
    """The manifest of Examples on this machine with all sketches; missing ones are measured and stored.

    Raises:
        DataError: a shard is damaged.
    """
    manifest = Manifest.read(str(examples))
    there = {sketch.file for sketch in manifest.sketches}
    added = []
    if STATISTICS not in there:
        shards = [shard for shard in manifest.splits["train"].shards if shard.rows]
        statistics = merge_all([_measure(problem, examples, shard) for shard in shards] or [_empty(problem)])
        added.append(keep(str(examples), STATISTICS, to_bytes(statistics)))
    if not there.issuperset(_wanted(problem)):
        found: dict[str, list[Fingerprints]] = defaultdict(list)
        for batch in _batches_of(problem, examples, manifest):
            for name, prints in fingerprints(problem, [batch]).items():
                found[name].append(prints)
        missing = [file for file in _wanted(problem) if file not in there]
        added += [keep(str(examples), file, _sorted(found[PurePath(file).stem])) for file in missing]
    if added:
        every = sorted((*manifest.sketches, *added), key=lambda sketch: sketch.file)
        manifest = dataclasses.replace(manifest, sketches=tuple(every))
        manifest.write(str(examples))
    return manifest


def measure(problem: Problem, table: pa.Table) -> TableStatistics:
    """The statistics of rows: of features, label and weight, and of the label by weight."""
    names = [column.name for column in (*problem.columns, *problem.targets)]
    weighted = None
    if problem.weight_column is not None:
        label, weight = (table.column(column.name) for column in problem.targets)
        weighted = WeightedLabel.measure(problem.label.name, label, weight)
    return dataclasses.replace(TableStatistics.measure(table, names, problem.exponents), weighted=weighted)


def kept_statistics(examples: Path | str, manifest: Manifest) -> TableStatistics:
    """The statistics of the train split of Examples that are `complete`, on a disk or on gs://.

    Raises:
        DataError: the file is missing or damaged.
    """
    sketch = _sketch(manifest, STATISTICS)
    where = storage.join(str(examples), STATISTICS)
    try:
        content = storage.read_bytes(where)
    except FileNotFoundError as error:
        raise _damaged(where, "the file does not exist") from error
    if f"{google_crc32c.value(content):08x}" != sketch.crc32c:
        raise _damaged(where, "another checksum")
    try:
        return from_bytes(content)
    except DataError as error:
        raise error.at(where) from error


def kept_fingerprints(examples: Path, manifest: Manifest, file: str) -> Fingerprints:
    """The fingerprints in KEYS or ROWS of Examples that are `complete`, sorted and memory-mapped.

    Raises:
        DataError: the file is missing or damaged.
    """
    sketch = _sketch(manifest, file)
    path = examples / file
    if not path.is_file() or path.stat().st_size != sketch.bytes:
        raise _damaged(str(path), "the file does not exist, or has another size")
    if not sketch.bytes:
        return np.zeros(0, np.uint64)
    return np.memmap(path, _FINGERPRINT, "r")


def merge_kept(examples: Path, base: Manifest, place: Path, added: Manifest) -> tuple[TableStatistics, list[Sketch]]:
    """Writes the sketches of Examples with further rows; returns their statistics, and the manifest's entries.

    Args:
        examples: where the rows were added, and what its manifest `base` was before.
        place: the further rows as Examples of their own, and their manifest `added`.
    """
    statistics = merge_all([kept_statistics(examples, base), kept_statistics(place, added)])
    sketches = [keep(str(examples), STATISTICS, to_bytes(statistics))]
    for sketch in added.sketches:
        if sketch.file != STATISTICS:
            both = [kept_fingerprints(examples, base, sketch.file), kept_fingerprints(place, added, sketch.file)]
            sketches.append(keep(str(examples), sketch.file, _sorted(both)))
    return statistics, sorted(sketches, key=lambda sketch: sketch.file)


def _sketch(manifest: Manifest, file: str) -> Sketch:
    found = next((sketch for sketch in manifest.sketches if sketch.file == file), None)
    if found is None:
        raise ValueError(f"the Examples must be complete, and have no {file}")
    return found


def _damaged(where: str, received: str) -> DataError:
    return DataError(
        "the append index is damaged",
        where=where,
        expected="the file of the manifest",
        received=received,
        fix="Restore the file, or preprocess all the data again",
    )


def _schema(columns: Iterable[Numeric | Categorical]) -> pa.Schema:
    return _schema_of({column.name: stored_as(column) for column in columns})


def _schema_of(kinds: Mapping[str, str]) -> pa.Schema:
    return pa.schema([(name, pa.float32() if kind == "float_list" else pa.string()) for name, kind in kinds.items()])


def _measure(problem: Problem, examples: Path, shard: Shard) -> TableStatistics:
    schema = _schema((*problem.columns, *problem.targets))
    table = pa.Table.from_batches(_batches(examples / shard.file, schema), schema)
    return measure(problem, table)


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for records in read_records(path, compressed=path.suffix == ".gz"):
        batch = decode(records, schema.names)
        arrays = [batch.column(field.name).cast(field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _batches_of(problem: Problem, examples: Path, manifest: Manifest) -> Iterator[pa.RecordBatch]:
    """All rows, the key first."""
    targets = {column.name: stored_as(column) for column in problem.targets}
    schema = _schema_of({**problem.derivation.stored, **targets} if ROWS in _wanted(problem) else {})
    schema = schema.insert(0, pa.field(problem.key_name, pa.string()))
    for split in manifest.splits.values():
        for shard in split.shards:
            if shard.rows:
                yield from _batches(examples / shard.file, schema)


def _wanted(problem: Problem) -> list[str]:
    return [KEYS, *([ROWS] if problem.duplicate_rows == "quarantine" or problem.key is None else [])]


def fingerprints(problem: Problem, batches: Sequence[pa.RecordBatch]) -> dict[str, Fingerprints]:
    """Fingerprints of rows: of their keys and, if the Problem requires it, of all other columns.

    Args:
        problem: the rows' Problem.
        batches: the rows, the key first.

    Returns:
        By "keys" and "rows", one for each row, in their order.
    """
    none = np.zeros(0, np.uint64)
    found = {"keys": np.concatenate([none, *(fingerprint(batch.column(0)) for batch in batches)])}
    if ROWS in _wanted(problem):
        found["rows"] = np.concatenate(
            [none, *(content_fingerprint(batch.select(batch.schema.names[1:])) for batch in batches)]
        )
    return found


def keep_fingerprints(problem: Problem, examples: str, parts: Sequence[str]) -> list[Sketch]:
    """Writes KEYS and ROWS from files that hold the `fingerprints` of some rows each, named NAME-....u64."""
    kept = []
    for file in _wanted(problem):
        name = PurePath(file).stem
        mine = [part for part in parts if PurePath(part).name.startswith(f"{name}-")]
        kept.append(keep(examples, file, _sorted([np.frombuffer(storage.read_bytes(p), _FINGERPRINT) for p in mine])))
    return kept


def _sorted(parts: Sequence[Fingerprints]) -> bytes:
    return np.sort(np.concatenate([np.zeros(0, np.uint64), *parts])).astype(_FINGERPRINT).tobytes()


def _empty(problem: Problem) -> TableStatistics:
    return measure(problem, _schema((*problem.columns, *problem.targets)).empty_table())
