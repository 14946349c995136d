"""Statistics that can be merged further: those of Examples, from their train shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from headrace.components.problem import Categorical, Problem
from headrace.components.tfrecord.decoding import decode
from headrace.components.tfrecord.framing import read_records
from headrace.components.tfrecord.manifest import Manifest, Shard
from headrace.components.tfrecord.statistics import TableStatistics, merge_all


def kept_statistics(problem: Problem, examples: Path) -> TableStatistics:
    """The statistics of the train split of Examples, as `preprocess` measured them.

    Raises:
        DataError: a shard is damaged.
    """
    shards = [shard for shard in Manifest.read(str(examples)).splits["train"].shards if shard.rows]
    return merge_all([_measure(problem, examples, shard) for shard in shards] or [_empty(problem)])


def keep_statistics(problem: Problem, examples: Path, parts: Sequence[TableStatistics]) -> TableStatistics:  # noqa: ARG001
    """Merges statistics."""
    return merge_all(parts)


def _schema(problem: Problem) -> pa.Schema:
    return pa.schema(
        [
            (declared.name, pa.string() if isinstance(declared, Categorical) else pa.float32())
            for declared in (*problem.columns, problem.label)
        ]
    )


def _measure(problem: Problem, examples: Path, shard: Shard) -> TableStatistics:
    schema = _schema(problem)
    table = pa.Table.from_batches(_batches(examples / shard.file, schema), schema)
    return TableStatistics.measure(table, schema.names)


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for records in read_records(path, compressed=path.suffix == ".gz"):
        batch = decode(records, schema.names)
        arrays = [batch.column(field.name).cast(field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _empty(problem: Problem) -> TableStatistics:
    schema = _schema(problem)
    return TableStatistics.measure(schema.empty_table(), schema.names)
