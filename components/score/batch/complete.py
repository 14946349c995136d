"""Completion of Predictions: checks the results of all parts, publishes the predictions, completes the artifact."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa

from headrace.components.score.batch.drift import OutputDistributions
from headrace.components.score.batch.part_result import EXAMPLES, PartResult, ScoringContext, quarantine_uri
from headrace.components.score.batch.training_facts import TrainingFacts
from headrace.components.score.config import ScoreConfig
from headrace.core import storage
from headrace.core.artifacts.budget import budget_table, check_damaged_files
from headrace.core.artifacts.examples import Quarantine, QuarantinedFile
from headrace.core.artifacts.predictions import AnswerForm, OutputColumn, PredictionsManifest
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_lines
from headrace.core.artifacts.set_aside import set_aside
from headrace.core.errors import DataError, HeadraceError, PlatformError, UnreadableFile
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.shares import check_shares
from headrace.core.saved_model.interface import ModelBinding
from headrace.core.sources.open import size_of, sources_of
from headrace.core.sources.source import Part, file_name

_QUARANTINE_FILE = "quarantine/part-00000-of-00001.jsonl"


class ScoringFacts(NamedTuple):
    """The manifest's facts about input and model, without the row counts."""

    config: ScoreConfig
    context: ScoringContext
    parts: Sequence[Part]
    results: Sequence[PartResult]
    learned: TrainingFacts
    model_version: str
    key: str | None
    data_version: str
    approach: str = "direct"
    notes: tuple[str, ...] = ()
    rows: int | None = None
    takes: ModelBinding | None = None

    @property
    def budget(self) -> float:
        """Maximum fraction of quarantined rows."""
        given = self.config.quarantine_budget
        return self.learned.quarantine_budget if given is None else given


def publishable(scored: ScoringFacts) -> PredictionsManifest:
    """Completes the artifact except for its manifest, which is returned because it is written last.

    Raises:
        DataError: there are no rows, or not as many as expected, the quarantine budget is spent, too many files are
            damaged, or the key is of different types.
        HeadraceError: what a part met, or what the sink raises.
        PlatformError: rows were lost.
    """
    parts, config, context = scored.parts, scored.config, scored.context
    damaged = _damaged(scored)
    whole = [r for r in scored.results if parts[r.part].path not in damaged]
    rows_in = sum(result.rows for result in whole)
    if not rows_in and damaged:
        raise next(iter(damaged.values()))
    if not rows_in and scored.learned.no_rows == "refuse":
        raise DataError("the data has no rows", where=config.data, expected="one row or more", received="none")
    if scored.rows not in (None, rows_in):
        raise DataError(
            "there are more or fewer rows than when they were given to the model",
            where=config.data,
            expected=f"{scored.rows:,} rows",
            received=f"{rows_in:,}",
            fix="Run it again",
        )
    reasons: Counter[str] = Counter()
    for result in whole:
        reasons.update(result.reasons)
    of_parts = [r.part for r in whole if r.reasons]
    examples = [(parts[r.part].name, *shown) for r in whole for shown in r.examples]
    _check_budget(scored, rows_in, reasons, examples, of_parts)
    counts = reduce(RuleCounts.merge, (result.rules for result in whole), RuleCounts())
    _check_shares(scored, rows_in - sum(reasons.values()), counts)
    columns = _columns(scored, whole)
    waiting = sorted(
        (file for result in whole for file in result.written), key=lambda file: (file.part, file.index, file.partition)
    )
    published = context.sink.publish(context.folder, waiting)
    rejected = _rejected(scored, published.rejected)
    if rejected:
        reasons.update(str(row.fault.reason) for _, row in rejected)
        examples = [(row.file, row.row, row.fault.message) for _, row in rejected]
        _check_budget(scored, rows_in, reasons, examples, of_parts, rejected)
    quarantined = sum(reasons.values())
    if published.rows + quarantined != rows_in:
        raise PlatformError(
            "rows were lost on the way to the sink",
            where=config.output,
            expected=f"{rows_in:,} rows",
            received=f"{published.rows:,} predictions and {quarantined:,} in quarantine",
        )
    distribution = reduce(
        OutputDistributions.merge, (result.distribution for result in whole), OutputDistributions()
    ).to_json()
    return PredictionsManifest(
        identity=config.identity,
        problem=scored.learned.problem,
        model_version=scored.model_version,
        approach=scored.approach,
        signature=config.signature,
        data_version=scored.data_version,
        source=sources_of([part for part in parts if part.path not in damaged], {r.part: r.rows for r in whole}),
        rows_in=rows_in,
        rows_out=published.rows,
        rows_quarantined=quarantined,
        sink=config.sink,
        files=published.files,
        destination=published.destination,
        partition_by=config.partition_by or None,
        columns=columns,
        quarantine=Quarantine(
            scored.budget,
            dict(sorted(reasons.items())),
            _write_quarantine(context, of_parts, rejected),
        ),
        distribution={"predictions": distribution, "training": scored.learned.compared(distribution)},
        files_quarantined=tuple(
            QuarantinedFile(file_name(path), size_of(path), "file_unreadable", error.paragraph)
            for path, error in damaged.items()
        ),
        notes=scored.notes,
        rules=_applied(scored, counts),
        answers=answer_form(scored.takes, scored.key),
    )


def answer_form(takes: ModelBinding | None, key: str | None) -> AnswerForm | None:
    """How the model answers requests; None without a key."""
    if takes is None or key is None:
        return None
    listed = tuple(output.name for output in takes.outputs if output.listed)
    return AnswerForm(key, takes.key_input is not None, listed)


def _damaged(scored: ScoringFacts) -> dict[str, UnreadableFile]:
    """The errors of damaged files, whose rows are all left out, because half a file would be worse.

    Raises:
        DataError: more files are damaged than the budget allows, or the only file is.
        HeadraceError: another error of a part.
    """
    damaged: dict[str, UnreadableFile] = {}
    for result in scored.results:
        if result.error is None:
            continue
        error = HeadraceError.from_json(dict(result.error))
        if not isinstance(error, UnreadableFile):
            raise error
        damaged.setdefault(scored.parts[result.part].path, error)
    files = len({part.path for part in scored.parts})
    check_damaged_files(
        list(damaged.values()),
        files,
        scored.budget,
        where=scored.config.data,
        raise_it="give a larger --quarantine-budget",
    )
    return damaged


def _check_budget(
    scored: ScoringFacts,
    rows_in: int,
    reasons: Mapping[str, int],
    examples: Sequence[tuple[str, int, str]],
    of_parts: Sequence[int],
    rejected: Sequence[tuple[tuple[int, int], QuarantinedRow]] = (),
) -> None:
    quarantined, budget = sum(reasons.values()), scored.budget
    if quarantined <= budget * rows_in:
        return
    first = "; ".join(f"{file}, row {row}: {message}" for file, row, message in examples[:EXAMPLES])
    command = set_aside(scored.config.output, _quarantine_lines(scored.context, of_parts, rejected))
    raise DataError(
        "the quarantine budget is spent",
        where=scored.config.data,
        expected=f"a prediction for all but {100 * budget:g} % of the rows ({int(budget * rows_in):,} of {rows_in:,})",
        received=f"{quarantined:,} without one; first {first}",
        fix=f"Correct the rows, or give a larger --quarantine-budget. All rows: {command}",
        table=budget_table(reasons, rows_in, budget),
    )


def _applied(scored: ScoringFacts, counts: RuleCounts) -> dict[str, Any] | None:
    rules = None if scored.takes is None else scored.takes.rules
    return None if rules is None else {"mode": rules.mode, **counts.to_json()}


def _check_shares(scored: ScoringFacts, rows: int, counts: RuleCounts) -> None:
    rules = None if scored.takes is None else scored.takes.rules
    if scored.takes is None or rules is None or rules.mode == "warn":
        return
    declared = [rule.declared for rule in (*rules.inputs.values(), *rules.derived.values())]
    columns = {taken.name: taken.columns[0] for taken in scored.takes.inputs}

    def seen(measure: str, name: str) -> int:
        return counts.let_through(f"{measure}_value", columns.get(name, name))

    check_shares(declared, scored.config.data, rows, seen, fix="Correct the rows, or predict them by --rules warn")


def _columns(scored: ScoringFacts, results: Sequence[PartResult]) -> tuple[OutputColumn, ...]:
    found: dict[tuple[tuple[str, str], ...], str] = {}
    for result in results:
        if result.columns:
            found.setdefault(result.columns, scored.parts[result.part].path)
    if len(found) > 1:
        (one, path), (other, other_path) = list(found.items())[:2]
        differ = [f"{a[0]} {a[1]} and {b[1]}" for a, b in zip(one, other, strict=True) if a != b]
        raise DataError(
            "files hold the same column as different types",
            where=f"{path} and {other_path}",
            received=", ".join(differ),
            fix="Score them apart, or write them alike",
        )
    return tuple(OutputColumn(name, kind) for columns in found for name, kind in columns)


def _rejected(scored: ScoringFacts, table: pa.Table | None) -> list[tuple[tuple[int, int], QuarantinedRow]]:
    """The rows that a prediction table cannot hold, with their positions, in order."""
    if table is None:
        return []
    parts, key = scored.parts, scored.key
    rows = []
    for row in table.to_pylist():
        text = row["key"]
        first = f"row {row['first_row']} of {parts[row['first_part']].name}"
        position = row["part"], row["row"]
        fault = Fault(key, "duplicate_key", f'{key} is "{text}", which {first} has already')
        rows.append((position, QuarantinedRow(parts[row["part"]].name, row["row"], fault, {str(key): text})))
    return sorted(rows, key=lambda row: row[0])


def _write_quarantine(
    context: ScoringContext, parts: Sequence[int], rejected: Sequence[tuple[tuple[int, int], QuarantinedRow]]
) -> tuple[str, ...]:
    """Merges the parts' quarantined rows into one file, in the order of parts and rows; returns its name."""
    if not parts and not rejected:
        return ()
    with storage.open_output(storage.join(context.folder, _QUARANTINE_FILE)) as file:
        file.writelines(_quarantine_lines(context, parts, rejected))
    return (_QUARANTINE_FILE,)


def _quarantine_lines(
    context: ScoringContext, parts: Sequence[int], rejected: Sequence[tuple[tuple[int, int], QuarantinedRow]]
) -> Iterator[bytes]:
    others = ((position, to_lines([row])) for position, row in rejected)
    for _, line in heapq.merge(_lines(context, parts), others):
        yield line


def _lines(context: ScoringContext, parts: Sequence[int]) -> Iterator[tuple[tuple[int, int], bytes]]:
    for part in parts:
        with storage.open_input(quarantine_uri(context, part)) as lines:
            for line in lines:
                yield (part, json.loads(line)["row"]), line
