"""Accounts of rows: the counts of each batch and shard, and their summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.components.preprocess.stage_context import PreprocessContext
from headrace.core import storage
from headrace.core.artifacts.examples import Shard
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.statistics.file import to_bytes
from headrace.core.statistics.measure import TableStatistics, merge_all

# Maximum faults in a batch's account, for the error when the budget is exceeded.
_EXAMPLES = 5

# File of the work folder with the train split's statistics, as mergeable sketches.
STATISTICS_ASIDE = "statistics.arrow"

Position = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """The rows of one batch that belong to one shard.

    Attributes:
        position: position of the batch.
        path, index: the Arrow file with the rows, and the index of their record batch in it.
        content: the rows as an Arrow IPC stream, if there is no file.
    """

    position: Position
    path: str
    index: int
    content: bytes = b""


@dataclass(frozen=True)
class BatchAccount:
    """Account of a batch: rows read, rows that broke a rule by reason, the first few of these, and
    `ValidatedRows.seen`."""

    position: Position
    rows: int
    reasons: Counter[str]
    examples: tuple[QuarantinedRow, ...]
    seen: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ShardAccount:
    """Account of a shard; statistics only for the train split."""

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
    """An error of a stage, sent as data because an exception loses its type in a runner."""

    position: Position
    error: dict[str, Any]


Account = BatchAccount | ShardAccount | Refusal


@dataclass(frozen=True)
class Summary:
    """Account of the whole pipeline.

    Attributes:
        errors: in the order of their rows.
        rows: rows read, by index of the file.
        reasons: rows that broke a rule, by reason.
        examples: the first few of them.
        shards: the shards with rows, by number.
        statistics: statistics of the train split, as in statistics.json; None if it has no rows.
        seen: the sum of `ValidatedRows.seen` over all batches.
    """

    errors: list[dict[str, Any]]
    rows: dict[int, int]
    reasons: dict[str, int]
    examples: list[dict[str, Any]]
    shards: dict[int, Shard]
    statistics: dict[str, Any] | None
    seen: dict[str, int]


def write_summary(context: PreprocessContext, accounts: Iterable[Account]) -> None:
    """Merges all accounts in the order of rows and shards, whatever their order of arrival, and writes them."""
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
        "statistics": merged.to_json(context.problem.quantile_buckets) if merged is not None else None,
        "seen": dict(sorted(seen.items())),
    }
    if merged is not None:
        context.put_aside(STATISTICS_ASIDE, to_bytes(merged))
    storage.write_json(storage.join(context.work, "summary.json"), summary)


def read_summary(context: PreprocessContext) -> Summary:
    """Reads the file of `write_summary`."""
    plain = storage.read_json(storage.join(context.work, "summary.json"))
    return Summary(
        errors=plain["errors"],
        rows={int(index): rows for index, rows in plain["rows"].items()},
        reasons=plain["reasons"],
        examples=plain["examples"],
        shards={int(number): Shard(**shard) for number, shard in plain["shards"].items()},
        statistics=plain["statistics"],
        seen=plain["seen"],
    )


def read_duplicates(context: PreprocessContext) -> pa.Table:
    """Rows with a duplicate key, in the order of files and rows: file, row, first_file, first_row, key."""
    tables = [pa.ipc.open_file(storage.read_bytes(path)).read_all() for path in context.aside("duplicates-*.arrow")]
    if not tables:
        return pa.table({name: [] for name in ("file", "row", "first_file", "first_row", "key")})
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table, [("file", "ascending"), ("row", "ascending")]))
