"""Part results: the job and the result of each part of the input, as values sent between processes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from headrace.components.score.batch.batcher import BatchLimits, BatchSizer
from headrace.components.score.batch.drift import OutputDistributions
from headrace.components.score.sinks.sink import PendingFile, Sink
from headrace.core import storage
from headrace.core.errors import PlatformError
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.mode import Mode
from headrace.core.saved_model.interface import ModelBinding
from headrace.core.sources.source import Rows

if TYPE_CHECKING:
    from headrace.core.scoring.answered import ScoredBatch

# Maximum faults in a part's result, for the error when the budget is exceeded.
EXAMPLES = 3
WORK = ".work"
_RECORDS_AT_ONCE = 16
# Each thread has its own batch in memory.
_MOST_THREADS = 4


class Scores(Protocol):
    """Scorer of rows: a model in this process or at an endpoint. Safe to use from several threads."""

    @property
    def takes(self) -> ModelBinding:
        """The model's inputs, outputs and columns."""

    @property
    def model_version(self) -> str:
        """The model's version."""

    def score(self, rows: Rows) -> ScoredBatch:
        """Scores rows; each row is either predicted or quarantined."""


class ScorerSource(Protocol):
    """Source of each process's scorer; it is sent to workers."""

    def load(self) -> Scores:
        """The scorer of this process, which is loaded at the first call."""


# The scorers of this process by their source. Beam creates a stage for each of its threads, and removes stages
# between bundles; a model takes seconds to load and uses hundreds of megabytes, so all stages share one until
# the process ends.
_LOADED: dict[ScorerSource, Scores] = {}
_LOCK = threading.Lock()


def load_once(source: ScorerSource, make: Callable[[], Scores]) -> Scores:
    """The scorer of this process from `source`, created at the first call."""
    with _LOCK:
        if source not in _LOADED:
            _LOADED[source] = make()
        return _LOADED[source]


@dataclass(frozen=True)
class ScoringModel:
    """A SavedModel to load: the arguments of `scorer.Scorer`, with named `inputs` as pairs."""

    model: str
    signature: str = "serving_default"
    key: str | None = None
    inputs: tuple[tuple[str, str | tuple[str, ...]], ...] | tuple[str, ...] | None = None
    optional: tuple[str, ...] = ()
    constants: tuple[tuple[str, Any], ...] = ()
    whole: bool = False
    intra_op_threads: int | None = None
    rules: Mode = "enforce"

    @classmethod
    def of(
        cls,
        model: str,
        *,
        inputs: Mapping[str, str | Sequence[str]] | Sequence[str] | None = None,
        constants: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Self:
        """Converts inputs and constants to the arguments of `Scorer`."""
        others["constants"] = tuple((constants or {}).items())
        if isinstance(inputs, Mapping):
            fed = tuple((name, of if isinstance(of, str) else tuple(of)) for name, of in inputs.items())
            return cls(model, inputs=fed, **others)
        return cls(model, inputs=None if inputs is None else tuple(inputs), **others)

    def load(self) -> Scores:
        """The model, loaded once per process."""
        return load_once(self, self._scorer)

    def _scorer(self) -> Scores:
        from headrace.core.scoring.scorer import Scorer

        inputs: Any = self.inputs
        if inputs and not isinstance(inputs[0], str):
            inputs = dict(inputs)
        return Scorer(
            self.model,
            signature=self.signature,
            key=self.key,
            inputs=inputs,
            optional=self.optional,
            constants=dict(self.constants),
            whole=self.whole,
            intra_op_threads=self.intra_op_threads or max(1, _cores() // default_threads()),
            rules=self.rules,
        )


@dataclass(frozen=True)
class ScoringContext:
    """Job description for all workers.

    Attributes:
        scorer: source of the scorer.
        sink: output format of the predictions.
        folder: folder of the artifact in progress.
        partition_by: the column whose values are folders, or "".
        batch_rows: rows per batch; 0 measures the fastest size.
        scoring_threads: number of a part's batches scored in parallel; 0 depends on the worker's cores.
        shows_progress: whether workers are on this machine, and write their progress there.
    """

    scorer: ScorerSource
    sink: Sink
    folder: str
    partition_by: str = ""
    batch_rows: int = 0
    scoring_threads: int = 0
    shows_progress: bool = False

    def batcher(self) -> BatchSizer:
        """The batcher, which chooses the rows per call; one per process."""
        if not self.batch_rows:
            return BatchSizer()
        # A requested size is not changed, however slow its batches are.
        size = self.batch_rows
        return BatchSizer(BatchLimits(start=size, smallest=size, largest=size, seconds=math.inf))

    @property
    def threads(self) -> int:
        """Number of a part's batches that this worker scores in parallel."""
        return self.scoring_threads or default_threads()

    @property
    def work(self) -> str:
        """Folder of the workers' unpublished files."""
        return storage.join(self.folder, WORK)


@dataclass(frozen=True)
class PartResult:
    """Result of a part.

    Attributes:
        part: its index.
        rows: rows read, including refused ones.
        batches: batches scored.
        written: files of predictions, in order.
        reasons: quarantined rows, by reason.
        examples: the first quarantined rows, as (row, message).
        columns: columns of the predictions, as (name, type); () without predictions.
        distribution: distribution of the predictions.
        error: the error that ended the part; all else is then invalid.
        rules: rows that broke a rule of the Model.
    """

    part: int
    rows: int = 0
    batches: int = 0
    written: tuple[PendingFile, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[tuple[int, str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    distribution: OutputDistributions = field(default_factory=OutputDistributions)
    error: Mapping[str, Any] | None = None
    rules: RuleCounts = field(default_factory=RuleCounts)

    @property
    def counts(self) -> dict[str, int]:
        """The part's values of the job's counters."""
        return {
            "rows": self.rows,
            "batches": self.batches,
            "predictions": sum(file.rows for file in self.written),
            "bytes": sum(file.bytes for file in self.written),
            **self.rules.metrics,
        }

    def write(self, context: ScoringContext) -> None:
        """Writes it to the work folder; a retry writes the same file again."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "distribution"}
        plain["written"] = [dataclasses.asdict(file) for file in self.written]
        plain["distribution"] = self.distribution.to_record()
        plain["rules"] = self.rules.to_json()
        storage.write_bytes(record_uri(context, self.part), json.dumps(plain).encode())

    @classmethod
    def read(cls, context: ScoringContext, part: int) -> Self:
        """Reads the file of `write`.

        Raises:
            PlatformError: the file does not exist.
        """
        uri = record_uri(context, part)
        try:
            plain = json.loads(storage.read_bytes(uri))
        except FileNotFoundError as error:
            raise PlatformError("the job finished without a part of its input", where=uri) from error
        plain["written"] = tuple(PendingFile(**file) for file in plain["written"])
        plain["examples"] = tuple((row, message) for row, message in plain["examples"])
        plain["columns"] = tuple((name, kind) for name, kind in plain["columns"])
        plain["distribution"] = OutputDistributions.from_record(plain["distribution"])
        plain["rules"] = RuleCounts.from_json(plain["rules"])
        return cls(**plain)


def default_threads() -> int:
    """Number of parallel batches: parallel batches leave fewer cores idle than the threads of one batch."""
    return min(_MOST_THREADS, _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def record_uri(context: ScoringContext, part: int) -> str:
    """Path of a part's result."""
    return storage.join(context.work, f"result-{part:06d}.json")


def quarantine_uri(context: ScoringContext, part: int) -> str:
    """Path of a part's quarantined rows."""
    return storage.join(context.work, f"quarantine-{part:06d}.jsonl")


def read_results(context: ScoringContext, parts: Sequence[int]) -> list[PartResult]:
    """The results of these parts, in order."""
    with ThreadPoolExecutor(_RECORDS_AT_ONCE) as pool:
        return list(pool.map(lambda part: PartResult.read(context, part), parts))


def metrics_of(results: Sequence[PartResult]) -> dict[str, int]:
    """The sums of the job's counters."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)
    return dict(total)
