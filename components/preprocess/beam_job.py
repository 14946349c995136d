"""Preprocessing as a Beam pipeline over record batches: rows of CSV or Parquet to a published Examples artifact."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from headrace.components import storage
from headrace.components.errors import HeadraceError, UsageError
from headrace.components.preprocess import shards
from headrace.components.preprocess.check import check_data
from headrace.components.preprocess.finish import publishable
from headrace.components.preprocess.shards import Account, BatchAccount, Job, Piece, Refusal, ShardAccount, Summary
from headrace.components.preprocess.sources import Part, Rows, list_parts, source_of
from headrace.components.preprocess.splits import Sharding
from headrace.components.problem_file import ProblemFile
from headrace.components.progress import Progress, silent

_SECONDS_BETWEEN_LOOKS = 0.25
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreprocessConfig:
    """How preprocessing is run.

    Attributes:
        data: a file, a folder or a glob of CSV or Parquet.
        output: the folder that becomes the Examples artifact; one that is there is replaced.
        identity: what the artifact is known by, 16 hexadecimal digits.
        data_version: fingerprint of the data; measured if empty.
        batch_rows: rows of a batch at most, 1 to 1,048,576. It changes no byte of the TFRecords.
        shard_rows: about how many rows a shard gets, 1 or more.
        runner: the Beam runner; DirectRunner is Beam's in-memory one, in this process.

    Raises:
        UsageError: a value outside its range.
    """

    data: str
    output: str
    identity: str
    data_version: str = ""
    batch_rows: int = 8192
    shard_rows: int = 100_000
    runner: str = "DirectRunner"

    def __post_init__(self) -> None:
        for name, greatest in (("batch_rows", 1 << 20), ("shard_rows", None)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (greatest and value > greatest):
                limits = f"a whole number, 1 to {greatest}" if greatest else "a whole number, 1 or more"
                raise UsageError(f"{name} is wrong", expected=limits, received=repr(value))
        if not self.identity:
            raise UsageError("the identity is empty", expected="16 hexadecimal digits", received=repr(self.identity))
        if self.runner != "DirectRunner":
            raise UsageError("there is no such runner", expected="DirectRunner", received=repr(self.runner))


@dataclass(frozen=True)
class PreprocessResult:
    """What came of preprocessing.

    Attributes:
        identity: what the artifact is known by.
        rows_in: rows read.
        rows_out: rows written, over all splits.
        rows_quarantined: rows that broke a rule.
        splits: rows written, by split.
        reasons: rows that broke a rule, by reason.
    """

    identity: str
    rows_in: int
    rows_out: int
    rows_quarantined: int
    splits: Mapping[str, int]
    reasons: Mapping[str, int]


def preprocess(problem_file: ProblemFile, config: PreprocessConfig, report: Progress = silent) -> PreprocessResult:
    """Turns rows into an Examples artifact, which appears whole at `config.output` or not at all.

    Args:
        problem_file: the Problem that the rows are for.
        config: where from, where to, and how.
        report: told how many rows have been read.

    Raises:
        DataError: what `check_data` finds; a file that turns out damaged; more rows in quarantine than the budget
            allows; a split without rows.
        UsageError: the output cannot be written.
        PlatformError: the disk is full or failed.
    """
    problem = problem_file.problem
    files = check_data(problem, config.data)
    report(f"checked {len(files)} {'file' if len(files) == 1 else 'files'}")
    data_version = config.data_version or storage.fingerprint(files)
    parts = list_parts(config.data)
    expected = sum(source_of(part.path).expected_rows(part.path) for part in parts)
    with storage.publishing(config.output) as folder:
        job = Job(
            problem=problem,
            sharding=Sharding.plan(problem.splits, expected, config.shard_rows),
            output=str(folder),
            batch_rows=config.batch_rows,
        )
        with storage.writing(config.output):
            job.work.mkdir()
        summary = _run(job, parts, report)
        if summary.errors:
            raise HeadraceError.from_json(summary.errors[0])
        manifest = publishable(job, parts, summary, config.data, config.identity, data_version)
        with storage.writing(config.output):
            shutil.rmtree(job.work)
        manifest.write(job.output)
    report(f"wrote {manifest.rows_out:,} Examples", done=manifest.rows_in, total=manifest.rows_in)
    return PreprocessResult(
        identity=manifest.identity,
        rows_in=manifest.rows_in,
        rows_out=manifest.rows_out,
        rows_quarantined=manifest.rows_quarantined,
        splits={name: split.rows for name, split in manifest.splits.items()},
        reasons=manifest.quarantine.reasons,
    )


def _run(job: Job, parts: list[Part], report: Progress) -> Summary:
    """Runs the pipeline, and reports how many rows it has read meanwhile.

    The pipeline has a thread of its own, so that progress is reported from the caller's; what it has read is counted
    by the files that it has put aside, which shows the work of other processes too.
    """
    failures: list[BaseException] = []

    def work() -> None:
        try:
            # Named outright: the default DirectRunner would first try to download another runner.
            pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
            build(pipeline, job, parts)
            pipeline.run().wait_until_finish()
        except BaseException as error:
            _LOGGER.debug("the pipeline failed", exc_info=True)
            failures.append(error)

    thread = threading.Thread(target=work, name="beam pipeline", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_SECONDS_BETWEEN_LOOKS)
        rows = _rows_read(job.work)
        if rows:
            report(f"{rows:,} rows read", done=rows)
    if failures:
        raise failures[0]
    return shards.read_summary(job)


def _rows_read(work: Path) -> int:
    return sum(int(path.stem.rpartition("-")[2]) for path in work.glob("piece-*.arrow"))


def build(pipeline: beam.Pipeline, job: Job, parts: list[Part]) -> None:
    """Adds the stages to a pipeline: read, check and put aside, write shards, account."""
    split = (
        pipeline
        | "parts" >> beam.Create(parts, reshuffle=False)
        | "read" >> beam.ParDo(_Read(job))
        | "check and split" >> beam.ParDo(_Split(job)).with_outputs("account", main="piece")
    )
    written = split.piece | "by shard" >> beam.GroupByKey() | "write shards" >> beam.ParDo(_Write(job))
    (
        (split.account, written)
        | "accounts" >> beam.Flatten()
        | "as one" >> beam.Map(lambda account: (0, account))
        | "gather" >> beam.GroupByKey()
        | "summary" >> beam.ParDo(_Summarize(job))
    )


class _Read(beam.DoFn):
    """Part -> its batches."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, part: Part) -> Iterator[Rows | Refusal]:
        return shards.read_batches(self._job, part)


class _Split(beam.DoFn):
    """Batch -> (shard, piece) for each shard that it has rows of; its account to the output "account"."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, rows: Rows | Refusal) -> Iterator[object]:
        for result in shards.split_batch(self._job, rows):
            if isinstance(result, BatchAccount | ShardAccount | Refusal):
                yield beam.pvalue.TaggedOutput("account", result)
            else:
                yield result


class _Write(beam.DoFn):
    """(shard, pieces) -> its account."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, shard_pieces: tuple[int, Iterable[Piece]]) -> Iterator[Account]:
        shard, pieces = shard_pieces
        yield shards.write_shard(self._job, shard, pieces)


class _Summarize(beam.DoFn):
    """(0, all accounts) -> summary.json in the work folder."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, accounts: tuple[int, Iterable[Account]]) -> None:
        shards.write_summary(self._job, accounts[1])
