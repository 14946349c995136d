"""Completion of Examples: checks the pipeline's result, and writes statistics, schema, quarantine and manifest."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow.compute as pc

from headrace.components.preprocess.accounts import STATISTICS_ASIDE, Summary, read_duplicates
from headrace.components.preprocess.append_index import STATISTICS, keep, keep_fingerprints
from headrace.components.preprocess.stage_context import PreprocessContext
from headrace.components.preprocess.stages import write_records
from headrace.core import storage
from headrace.core.artifacts.budget import budget_table
from headrace.core.artifacts.examples import (
    SPLITS,
    Manifest,
    Quarantine,
    QuarantinedFile,
    Schema,
    Shard,
    Sketch,
    Split,
)
from headrace.core.artifacts.quarantine import Fault, to_lines
from headrace.core.artifacts.set_aside import set_aside
from headrace.core.errors import DataError
from headrace.core.problem import Problem
from headrace.core.rows.read import table_columns
from headrace.core.rows.validate import quarantine
from headrace.core.rules.shares import check_shares
from headrace.core.sources.open import read_part, size_of, sources_of
from headrace.core.sources.source import Part, file_name

_QUARANTINE_FILE = "quarantine/part-00000-of-00001.jsonl"
_EXAMPLES = 3


def publishable(
    context: PreprocessContext,
    parts: list[Part],
    summary: Summary,
    data: str,
    identity: str,
    data_version: str,
    unreadable: Mapping[str, DataError] = MappingProxyType({}),
    *,
    output: str,
) -> Manifest:
    """Completes the artifact except for its manifest, which is returned because it is written last.

    Args:
        output: the artifact's path; if the budget is exceeded, the quarantine is written next to it.
        unreadable: errors of damaged files, whose rows are all left out, by path.

    Raises:
        DataError: the quarantine budget is exceeded, a split has no rows, a column of the train split has no value, or
            more values of a column are missing or unknown than the Problem allows.
    """
    problem = context.problem
    rows_in = sum(summary.rows.values())
    quarantined = sum(summary.reasons.values())
    if quarantined > problem.quarantine_budget * rows_in and context.addition != "append":
        command = set_aside(output, _quarantine_lines(context, parts))
        raise _budget_spent(context, parts, summary, data, rows_in, quarantined, command)
    splits = _splits(context, summary)
    if not context.addition:
        check_splits(problem, data, splits, summary.statistics)
    if context.addition != "append":
        seen = summary.seen
        check_shares(problem.columns, data, seen.get("rows", 0), lambda measure, name: seen.get(f"{measure} {name}", 0))
    files = _write_quarantine(context, parts) if quarantined else ()
    storage.write_json(storage.join(context.output, "schema.json"), Schema.of(problem).to_json())
    storage.write_json(storage.join(context.output, "statistics.json"), summary.statistics)
    sketches: tuple[Sketch, ...] = ()
    if summary.statistics is not None:
        merged = storage.read_bytes(storage.join(context.work, STATISTICS_ASIDE))
        sketches = (keep(context.output, STATISTICS, merged),)
    if context.addition:
        sketches = (*keep_fingerprints(context.problem, context.output, context.aside("*.u64")), *sketches)
    return Manifest(
        identity=identity,
        problem=problem.name,
        schema_digest=problem.schema_digest,
        data_version=data_version,
        source=sources_of(parts, summary.rows),
        rows_in=rows_in,
        rows_out=sum(split.rows for split in splits.values()),
        rows_quarantined=quarantined,
        splits=splits,
        quarantine=Quarantine(problem.quarantine_budget, summary.reasons, files),
        files_quarantined=tuple(
            QuarantinedFile(file_name(path), size_of(path), "file_unreadable", error.paragraph)
            for path, error in unreadable.items()
        ),
        sketches=sketches,
        boundaries=problem.splits.boundaries,
    )


def _splits(context: PreprocessContext, summary: Summary) -> dict[str, Split]:
    """The shards of each split; a shard without rows is written empty, so that the numbers have no gap."""
    found: dict[str, list[Shard]] = {name: [] for name in SPLITS}
    for number in range(sum(context.sharding.counts)):
        split, file = context.sharding.name(number)
        shard = summary.shards.get(number)
        if shard is None:
            shard = write_records(context, file, [])
        found[split].append(shard)
    return {name: Split(sum(shard.rows for shard in of), tuple(of)) for name, of in found.items()}


_MORE_ROWS = {
    "key": "Give more rows, or give the split a larger fraction in the Problem file",
    "group": "Give rows of more groups, or give the split a larger fraction in the Problem file",
    "time": "Correct eval_from and test_from in the Problem file, or give rows of more times",
    "files": "Give the split a file with rows that follow the Problem's rules",
}


def check_splits(
    problem: Problem, data: str, splits: Mapping[str, Split], statistics: Mapping[str, Any] | None
) -> None:
    """Checks that every split has rows, and that every column has a value in the train split.

    Raises:
        DataError: a split has no rows, or a column has no value.
    """
    empty = [name for name, split in splits.items() if not split.rows]
    if empty:
        raise DataError(
            f"there are too few rows: none fell into {' and '.join(empty)}"
            if problem.splits.kind == "key"
            else f"no row is in the split {' or '.join(empty)}, which is made by {problem.splits.described}",
            where=data,
            expected="one row or more in each split",
            received=", ".join(f"{name} {split.rows}" for name, split in splits.items()),
            fix=_MORE_ROWS[problem.splits.kind],
        )
    columns = (statistics or {"columns": {}})["columns"]
    for name, column in columns.items():
        if not column["count"]:
            raise DataError(
                f'the column "{name}" has no value in the train split',
                where=data,
                expected="one value or more to learn from",
                received=f"{column['missing']} missing values",
                fix="Leave the feature out of the Problem file",
            )


def _write_quarantine(context: PreprocessContext, parts: list[Part]) -> tuple[str, ...]:
    """Merges the quarantined rows of the stages into one file, in the order of files and rows; returns its name."""
    with storage.open_output(storage.join(context.output, _QUARANTINE_FILE)) as file:
        file.writelines(_quarantine_lines(context, parts))
    return (_QUARANTINE_FILE,)


def _quarantine_lines(context: PreprocessContext, parts: list[Part]) -> Iterator[bytes]:
    for _, line in heapq.merge(_rows_of_batches(context), _rows_of_duplicates(context, parts)):
        yield line


def _rows_of_batches(context: PreprocessContext) -> Iterator[tuple[tuple[int, int], bytes]]:
    # The names hold the position in fixed width, so their order is that of the rows.
    for uri in context.aside("quarantine-*.jsonl"):
        index = int(uri.rpartition("/")[2].split("-")[1])
        with storage.open_input(uri) as lines:
            for line in lines:
                yield (index, json.loads(line)["row"]), line


def _rows_of_duplicates(context: PreprocessContext, parts: list[Part]) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The rows with duplicate keys, read again from their files: quarantine holds rows as read."""
    found = read_duplicates(context)
    for part in parts:
        mine = {row["row"]: row for row in found.filter(pc.equal(found["file"], part.index)).to_pylist()}
        if not mine:
            continue
        columns = table_columns(context.problem, part)
        for rows in read_part(part, columns, context.batch_rows):
            for index, number in enumerate(rows.numbers.tolist()):
                if number in mine:
                    row = quarantine(rows, index, columns, _duplicate(context, parts, mine[number]))
                    yield (part.index, number), to_lines([row])


def _duplicate(context: PreprocessContext, parts: list[Part], found: dict[str, Any]) -> Fault:
    first = parts[found["first_file"]].name
    message = f'{context.problem.key} is "{found["key"]}", which row {found["first_row"]} of {first} has already'
    return Fault(context.problem.key, "duplicate_key", message)


def _budget_spent(
    context: PreprocessContext,
    parts: list[Part],
    summary: Summary,
    data: str,
    rows_in: int,
    quarantined: int,
    command: str,
) -> DataError:
    """The error for an exceeded budget, with its reasons and the first rows."""
    budget = context.problem.quarantine_budget
    duplicates = summary.reasons.get("duplicate_key", 0)
    counted = sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = [(row["file"], row["row"], row["message"]) for row in summary.examples]
    if duplicates:
        of_duplicates = [
            (parts[row["file"]].name, row["row"], _duplicate(context, parts, row).message)
            for row in read_duplicates(context).slice(0, _EXAMPLES).to_pylist()
        ]
        shown = of_duplicates + shown if counted[0][0] == "duplicate_key" else shown + of_duplicates
    examples = "; ".join(f"{file}, row {row}: {message}" for file, row, message in shown[:_EXAMPLES])
    only = duplicates > quarantined / 2
    return DataError(
        f'the key column "{context.problem.key}" is not unique, and the quarantine budget is spent'
        if only
        else "the quarantine budget is spent",
        where=data,
        expected=f"at most {100 * budget:g} % of the rows to break a rule ({int(budget * rows_in):,} of {rows_in:,})",
        received=f"{quarantined:,} ({', '.join(f'{reason} {count:,}' for reason, count in counted)}); first {examples}",
        fix=(
            "Choose a key that identifies each row"
            if only
            else "Correct the rows, or raise quarantine_budget in the Problem file"
        )
        + f". All rows: {command}",
        table=budget_table(summary.reasons, rows_in, budget),
    )
