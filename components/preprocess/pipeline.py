"""Beam pipeline of preprocessing, over record batches: rows of any source to a published Examples artifact."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from headrace.components.preprocess import stages
from headrace.components.preprocess.accounts import (
    Account,
    BatchAccount,
    Piece,
    Refusal,
    ShardAccount,
    Summary,
    read_summary,
    write_summary,
)
from headrace.components.preprocess.check import look
from headrace.components.preprocess.complete import publishable
from headrace.components.preprocess.damaged_files import PassResult, clear, read_whole_files
from headrace.components.preprocess.duplicates import find_earlier, find_marks
from headrace.components.preprocess.limits import check_drift, read_baseline
from headrace.components.preprocess.output_guard import check_place
from headrace.components.preprocess.spellings import check_spellings
from headrace.components.preprocess.stage_context import Addition, PreprocessContext, rows_per_batch
from headrace.components.preprocess.time_boundaries import measured_splits
from headrace.core import storage
from headrace.core.artifacts import set_aside
from headrace.core.artifacts.examples import Schema
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.beam.counters import format_counters
from headrace.core.beam.launch import count, run
from headrace.core.beam.runners import DirectRunner, RunnerOptions
from headrace.core.beam.staging import staging
from headrace.core.checks import check_count
from headrace.core.errors import UsageError
from headrace.core.problem import Problem
from headrace.core.problem.file import PREPARED_NOTE, ProblemFile
from headrace.core.progress import Progress, silent
from headrace.core.rows.notation import check_notation
from headrace.core.rows.prepare import Prepare
from headrace.core.rows.read import table_columns
from headrace.core.rows.scales import measured_exponents, tiny_columns
from headrace.core.rows.splits import Sharding
from headrace.core.rules.fault import listed
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open import data_version as measure_version
from headrace.core.sources.open import expected_rows, list_parts
from headrace.core.sources.source import Part, Rows
from headrace.core.text import counted

# Beam's metrics of the job are counters of this namespace: rows, batches, quarantined and quarantined_REASON,
# examples and bytes.
METRICS = "headrace.preprocess"
_UNITS = {
    "rows": ("row read", "rows read"),
    "batches": ("batch", "batches"),
    "examples": ("Example", "Examples"),
    "bytes": ("byte", "bytes"),
}


@dataclass(frozen=True)
class PreprocessConfig:
    """Options of preprocessing.

    Attributes:
        data: a file, a folder or a glob of any format that `sources` reads, or a BigQuery table or query.
        output: the folder of the Examples artifact; an existing one is replaced.
        identity: cache key of the artifact, 16 hexadecimal digits.
        data_version: fingerprint of the data; measured if empty.
        batch_rows: maximum rows per batch, 1 to 1,048,576; None for `rows_per_batch`. It changes no TFRecord.
        shard_rows: approximate number of rows per shard, 1 or more.
        runner: the Beam runner and its options; by default Beam's in-memory runner, in this process.
        baseline: an earlier statistics.json, or the Examples with it, for the Problem's `drift`.
        existing: Examples on this machine; a row with a key of theirs is a duplicate.
        addition: how the rows are added to Examples, or None; see `spans`.
        exponents: of the numbers by column, as in other spans; those of `existing` come first. None to measure them.
        csv: dialect of CSV files.
        quarantine_next_to: if the budget is exceeded, the quarantine is written next to this URI; "" for `output`.

    Raises:
        UsageError: a value is outside its range, or the runner's workers cannot reach a path.
    """

    data: str
    output: str
    identity: str
    data_version: str = ""
    batch_rows: int | None = None
    shard_rows: int = 100_000
    runner: RunnerOptions = field(default_factory=DirectRunner)
    baseline: str = ""
    existing: tuple[str, ...] = ()
    addition: Addition = ""
    exponents: Mapping[str, int] | None = None
    csv: CsvDialect = RFC_4180
    quarantine_next_to: str = ""

    def __post_init__(self) -> None:
        if self.batch_rows is not None:
            check_count(self.batch_rows, "batch_rows", maximum=1 << 20)
        check_count(self.shard_rows, "shard_rows")
        if not self.identity:
            raise UsageError("the identity is empty", expected="16 hexadecimal digits", received=repr(self.identity))
        if not isinstance(self.runner, RunnerOptions):
            raise UsageError("the runner is not valid", expected="RunnerOptions", received=repr(self.runner))
        self.runner.check_places(self.data, self.output)


@dataclass(frozen=True)
class PreprocessResult:
    """Result of preprocessing.

    Attributes:
        identity: cache key of the artifact.
        rows_in: rows read.
        rows_out: rows written, over all splits.
        rows_quarantined: rows that broke a rule.
        splits: rows written, by split.
        reasons: rows that broke a rule, by reason.
        metrics: the job's Beam counters: a runner that retries a bundle may have counted it twice.
    """

    identity: str
    rows_in: int
    rows_out: int
    rows_quarantined: int
    splits: Mapping[str, int]
    reasons: Mapping[str, int]
    metrics: Mapping[str, int] = field(default_factory=dict, compare=False)


def preprocess(
    problem_file: ProblemFile,
    config: PreprocessConfig,
    report: Progress = silent,
    *,
    launched: Callable[[PipelineResult], None] | None = None,
) -> PreprocessResult:
    """Converts rows to an Examples artifact, which is written atomically to `config.output`.

    Args:
        problem_file: the Problem of the rows.
        config: input, output and options.
        report: called with the number of rows read.
        launched: called with the Beam job when it has started.

    Raises:
        DataError: errors of `check_data`; a file turns out damaged; more rows are in quarantine than the budget allows;
            a split has no rows.
        UsageError: the output cannot be written, or holds something else.
        PlatformError: the disk is full or failed.
    """
    problem = problem_file.problem
    check_place(config.output, problem=problem_file.path, data=config.data, baseline=config.baseline)
    next_to = config.quarantine_next_to or config.output
    set_aside.clear(next_to)
    tell = partial(report, lasting=True)
    prepare = Prepare.of(problem_file)
    files, damaged = look(problem, config.data, config.csv, prepare)
    report(f"checked {counted(len(files), 'file')}")
    data_version = config.data_version or measure_version(files, config.csv)
    baseline = read_baseline(config.baseline)
    whole = next(path for path in files if path not in damaged)
    columns = table_columns(problem, Part(0, whole, csv=config.csv, prepare=prepare))
    batch_rows = config.batch_rows or rows_per_batch(len(columns))
    parts = list_parts(config.data, csv=config.csv, columns=columns)
    if prepare is not None:
        parts = [dataclasses.replace(part, prepare=prepare) for part in parts]
        tell(f"prepare of {problem_file.path} runs on every row; {PREPARED_NOTE}")
    expected = expected_rows(parts)
    # What is added has the scale of the rows that are there.
    fixed = Schema.read(config.existing[0]).exponents if config.existing else config.exponents
    with staging(config.output, EXAMPLES, config.identity, config.runner) as folder:

        def read(readable: list[Part]) -> PassResult:
            if fixed is not None:
                done = pass_over(problem_file.problem.with_exponents(fixed), readable)
                if small := tiny_columns(done.context.problem, done.summary.seen):
                    tell(f"numbers of {listed(small)} are tiny compared with those of other rows, and lose digits")
                return done
            problem = problem_file.problem
            while True:
                done = pass_over(problem, readable)
                exponents = {} if done.summary.errors else measured_exponents(problem, done.summary.seen)
                if not exponents:
                    return done
                # A derived column is only measured once the columns that it reads are scaled.
                problem = problem.with_exponents(exponents)
                tell(f"numbers of {listed(list(exponents))} do not fit float32: reading again, to scale them")

        def pass_over(problem: Problem, readable: list[Part]) -> PassResult:
            if problem.splits.is_measured:
                report(f"reading {problem.splits.time}")
                splits = measured_splits(problem, config.data, readable, batch_rows)
                problem = dataclasses.replace(problem, splits=splits)
            context = PreprocessContext(
                problem=problem,
                sharding=Sharding.plan(problem.splits, expected, config.shard_rows, keyed=problem.key is not None),
                output=folder,
                batch_rows=batch_rows,
                spills=config.runner.local,
                marks=find_marks(problem, readable, config.existing, batch_rows),
                earlier=find_earlier(problem, readable, config.existing, batch_rows),
                addition=config.addition,
            )
            clear(context)
            return PassResult(context, *_run(context, readable, config, report, launched))

        context, summary, metrics = read_whole_files(problem, config.data, parts, damaged, read, tell)
        for warning in check_spellings(problem, config.data, summary.statistics, summary.seen):
            tell(warning)
        manifest = publishable(
            context, parts, summary, config.data, config.identity, data_version, damaged, output=next_to
        )
        for warning in check_notation(config.data, manifest.rows_in, summary.seen):
            tell(warning)
        if summary.statistics is not None:
            check_drift(problem, config.data, baseline, summary.statistics)
        storage.remove(context.work)
        # Digest of the declaration, which does not contain measured time boundaries.
        dataclasses.replace(manifest, schema_digest=problem.schema_digest).write(context.output)
    if manifest.boundaries:
        eval_from, test_from = (manifest.boundaries[name] for name in ("eval_from", "test_from"))
        tell(f"{problem.splits.time}: eval split from {eval_from}, test split from {test_from}")
    report(format_counters(metrics, _UNITS))
    report(f"wrote {counted(manifest.rows_out, 'Example')}", done=manifest.rows_in, total=manifest.rows_in)
    return PreprocessResult(
        identity=manifest.identity,
        rows_in=manifest.rows_in,
        rows_out=manifest.rows_out,
        rows_quarantined=manifest.rows_quarantined,
        splits={name: split.rows for name, split in manifest.splits.items()},
        reasons=manifest.quarantine.reasons,
        metrics=metrics,
    )


def _run(
    context: PreprocessContext,
    parts: list[Part],
    config: PreprocessConfig,
    report: Progress,
    launched: Callable[[PipelineResult], None] | None,
) -> tuple[Summary, Mapping[str, int]]:
    """Runs the pipeline.

    On this machine, progress is counted by the stored files, which include the work of other processes.
    """
    metrics = run(
        lambda pipeline: build(pipeline, context, parts),
        config.runner,
        f"headrace-preprocess-{config.identity}",
        METRICS,
        report,
        rows_read=(lambda: _rows_read(Path(context.work))) if context.spills else None,
        launched=launched,
    )
    return read_summary(context), metrics


def _rows_read(work: Path) -> int:
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(work) as entries:
        names = [entry.name for entry in entries]
    return sum(int(n[n.rindex("-") + 1 : -len(".arrow")]) for n in names if n[:6] == "piece-" and n[-6:] == ".arrow")


def build(pipeline: beam.Pipeline, context: PreprocessContext, parts: list[Part]) -> None:
    """Adds the stages to a pipeline: read, check and store, write shards, account."""
    split = (
        pipeline
        | "parts" >> beam.Create(parts, reshuffle=False)
        | "read" >> beam.ParDo(_Read(context))
        | "check and split" >> beam.ParDo(_Split(context)).with_outputs("account", main="piece")
    )
    written = split.piece | "by shard" >> beam.GroupByKey() | "write shards" >> beam.ParDo(_Write(context))
    (
        (split.account, written)
        | "accounts" >> beam.Flatten()
        | "as one" >> beam.Map(_as_one)
        | "gather" >> beam.GroupByKey()
        | "summary" >> beam.ParDo(_Summarize(context))
    )


class _Read(beam.DoFn):
    """Part -> its batches."""

    def __init__(self, context: PreprocessContext) -> None:
        self._context = context

    def process(self, part: Part) -> Iterator[Rows | Refusal]:
        return stages.read_batches(self._context, part)


class _Split(beam.DoFn):
    """Batch -> (shard, piece) for each shard with rows; its account to the output "account"."""

    def __init__(self, context: PreprocessContext) -> None:
        self._context = context

    def process(self, rows: Rows | Refusal) -> Iterator[object]:
        for result in stages.split_batch(self._context, rows):
            if isinstance(result, BatchAccount):
                count(METRICS, {"rows": result.rows, "batches": 1}, result.reasons)
            if isinstance(result, BatchAccount | ShardAccount | Refusal):
                yield beam.pvalue.TaggedOutput("account", result)
            else:
                yield result


class _Write(beam.DoFn):
    """(shard or group, pieces) -> the accounts of the written shards."""

    def __init__(self, context: PreprocessContext) -> None:
        self._context = context

    def process(self, shard_pieces: tuple[int, Iterable[Piece]]) -> Iterator[Account]:
        shard, pieces = shard_pieces
        for account in stages.write_shard(self._context, shard, pieces):
            if isinstance(account, ShardAccount):
                count(METRICS, {"examples": account.written.rows, "bytes": account.written.bytes}, account.reasons)
            yield account


class _Summarize(beam.DoFn):
    """(0, all accounts) -> summary.json in the work folder."""

    def __init__(self, context: PreprocessContext) -> None:
        self._context = context

    def process(self, accounts: tuple[int, Iterable[Account]]) -> None:
        write_summary(self._context, accounts[1])


def _as_one(account: Account) -> tuple[int, Account]:
    """All accounts under one key. A function with a name: a lambda is sent with the path of this file."""
    return 0, account
