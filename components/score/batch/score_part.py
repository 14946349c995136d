"""Part scoring: reading, the model and writing overlap; the result depends only on the part.

A part is the unit of work of every approach: one worker reads, scores and writes all of it, so rows are never sent
between workers, and a retried part writes the same files again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from headrace.components.score.batch.batcher import BatchSizer, split
from headrace.components.score.batch.drift import OutputDistributions
from headrace.components.score.batch.part_result import EXAMPLES, PartResult, Scores, ScoringContext, quarantine_uri
from headrace.components.score.batch.thread_stages import ahead, in_order
from headrace.components.score.sinks.blocks import PartWriter, same_rows
from headrace.core import storage
from headrace.core.artifacts.quarantine import QuarantinedRow, to_lines
from headrace.core.errors import DataError, EmptyFile, HeadraceError, PlatformError
from headrace.core.rows.prepare import prepared, prepared_columns
from headrace.core.rules.counts import RuleCounts
from headrace.core.sources.open import read_part, source_of
from headrace.core.sources.source import Part, Rows
from headrace.core.values.mixed import as_plain_text

# Maximum batches queued between two stages.
_WAITING = 2


class _Batch(NamedTuple):
    """A batch for the writer: the scored rows, the number of rows read, and the partition column."""

    scored: Any
    rows: int
    partition: pa.Array | None


def score_part(
    context: ScoringContext, part: Part, scorer: Scores, batcher: BatchSizer, tell: Callable[[int], None] | None = None
) -> PartResult:
    """Reads, scores and writes a part.

    Args:
        job: the job description.
        part: the part.
        scorer: this process's scorer.
        batcher: this process's batcher: chooses the rows per call, which changes no byte.
        tell: called with the number of rows scored so far.

    Returns:
        The result, including a HeadraceError, because an exception loses its type in a runner.
    """
    try:
        with closing(ahead(_scored(context, part, scorer, batcher), _WAITING)) as scored:
            return _write(context, part, scorer, scored, tell or _nobody)
    except HeadraceError as error:
        return PartResult(part.index, error=error.at(part.path).to_json())


def columns_of(part: Part, scorer: Scores, partition_by: str = "") -> list[str]:
    """The columns of a part to read: the scorer's columns that the file has, and the partition column.

    With a prepare function, also its input columns.

    Raises:
        DataError: a required column is missing, or a column is repeated.
    """
    try:
        available = [name for name, _ in source_of(part.path, part.csv).columns(part.path, scorer.takes.columns)]
    except EmptyFile:
        # No row of it will be read.
        return list(scorer.takes.columns)
    if part.prepare is None:
        columns = list(scorer.takes.columns_among(available))
    else:
        columns = prepared_columns(part.prepare.reads, scorer.takes.columns, available, part.path)
    given = {output.name for output in scorer.takes.outputs}
    if partition_by and partition_by not in columns and partition_by not in given:
        if partition_by not in available:
            raise DataError(
                "the column to partition by does not exist",
                where=part.path,
                expected=f"one of {', '.join([*available, *sorted(given)])}",
                received=partition_by,
            )
        columns.append(partition_by)
    twice = sorted(name for name in columns if available.count(name) > 1)
    if twice:
        raise DataError(f'there are several columns named "{twice[0]}"', where=part.path, expected="each column once")
    return columns


def _scored(context: ScoringContext, part: Part, scorer: Scores, batcher: BatchSizer) -> Iterator[_Batch]:
    """The batches of a part, read by one thread and scored by others, in order."""
    columns = columns_of(part, scorer, context.partition_by)

    def score(rows: Rows) -> _Batch:
        with batcher.measuring(rows.batch.num_rows, rows.batch.nbytes):
            made = prepared(rows)
            if part.prepare is not None:
                scorer.takes.columns_among(made.batch.schema.names)
            scored = scorer.score(made)
        if len(scored.numbers) + len(scored.quarantined) != rows.count or scored.predictions.num_rows != len(
            scored.numbers
        ):
            raise PlatformError(
                "rows were lost on the way through the model",
                where=part.path,
                expected=f"{rows.count} rows",
                received=f"{scored.predictions.num_rows} predictions and {len(scored.quarantined)} in quarantine",
            )
        return _Batch(scored, rows.count, _partition(context, rows, scored))

    # A prepare function gets columns with the types of their format.
    coded = scorer.takes.texts - {context.partition_by} if part.prepare is None else ()
    with closing(ahead(read_part(part, columns, batcher.limits.largest, coded), _WAITING)) as read:
        batches = (batch for rows in read for batch in split(rows, batcher.rows))
        yield from in_order(score, batches, context.threads)


def _partition(context: ScoringContext, rows: Rows, scored: Any) -> pa.Array | None:
    if not context.partition_by:
        return None
    if context.partition_by in scored.predictions.schema.names:
        return scored.predictions.column(context.partition_by)
    return same_rows(rows.numbers, scored.numbers, as_plain_text(rows.batch.column(context.partition_by)))


def _write(
    context: ScoringContext, part: Part, scorer: Scores, batches: Iterable[_Batch], tell: Callable[[int], None]
) -> PartResult:
    """Writes the predictions, and counts the rows."""
    outputs = [output.name for output in scorer.takes.outputs]
    rows = count = 0
    reasons: Counter[str] = Counter()
    examples: list[tuple[int, str]] = []
    columns: tuple[tuple[str, str], ...] = ()
    distributions = OutputDistributions()
    rules = RuleCounts()

    with (
        _Quarantine(quarantine_uri(context, part.index)) as quarantine,
        PartWriter(context.folder, context.sink, part.index, context.partition_by) as writer,
    ):
        for batch in batches:
            scored = batch.scored
            rows += batch.rows
            count += 1
            rules = rules.merge(scored.counts)
            if scored.quarantined:
                quarantine.write(scored.quarantined)
                reasons.update(str(row.fault.reason) for row in scored.quarantined)
                examples += [(row.row, row.fault.message) for row in scored.quarantined[: EXAMPLES - len(examples)]]
            if not scored.predictions.num_rows:
                continue
            columns = columns or tuple((f.name, str(f.type)) for f in scored.predictions.schema)
            for block in writer.write(scored.predictions, scored.numbers, batch.partition):
                distributions = distributions.merge(OutputDistributions.measure(block, outputs))
            tell(rows)
        for block in writer.close():
            distributions = distributions.merge(OutputDistributions.measure(block, outputs))
    return PartResult(
        part=part.index,
        rows=rows,
        batches=count,
        written=tuple(writer.written),
        reasons=dict(sorted(reasons.items())),
        examples=tuple(examples),
        columns=columns,
        distribution=distributions,
        rules=rules,
    )


class _Quarantine:
    """The file of a part's quarantined rows, created at the first one."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._stack = ExitStack()
        self._file: BinaryIO | None = None

    def write(self, rows: tuple[QuarantinedRow, ...]) -> None:
        """Adds rows."""
        if self._file is None:
            self._file = self._stack.enter_context(storage.open_output(self._uri))
        self._file.write(to_lines(rows))

    def __enter__(self) -> _Quarantine:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _nobody(rows: int) -> None:
    """Ignores the progress."""
