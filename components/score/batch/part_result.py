"""What the parts of the input are scored with, and what came of each: plain values that travel between processes."""

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

from headrace.components.score.batch.batcher import Batcher, BatchLimits
from headrace.components.score.batch.drift import Distribution
from headrace.components.score.sinks.sink import PendingFile, Sink
from headrace.core import storage
from headrace.core.errors import PlatformError
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.mode import Mode
from headrace.core.saved_model.interface import Takes
from headrace.core.sources.source import Rows

if TYPE_CHECKING:
    from headrace.core.scoring.answered import Scored

# Faults of a part that go along with its account, to be shown where the budget is spent.
EXAMPLES = 3
WORK = ".work"
_RECORDS_AT_ONCE = 16
# Each has a batch of its own in memory.
_MOST_THREADS = 4


class Scores(Protocol):
    """What scores rows: a model in this process, or one behind an endpoint. Safe to use from several threads."""

    @property
    def takes(self) -> Takes:
        """What it takes and gives, and from which columns."""

    @property
    def model_version(self) -> str:
        """Which model it is."""

    def score(self, rows: Rows) -> Scored:
        """Predictions for rows, each of which comes out with one or quarantined."""


class ScorerSource(Protocol):
    """How each process comes by its scorer; it is sent to workers."""

    def load(self) -> Scores:
        """The scorer of this process, which is loaded at the first call."""


# The scorers of this process by where they come from. Beam makes a stage anew for each of its threads, and takes
# stages down between bundles; a model takes seconds to load and hundreds of megabytes, so that there is one, which
# all share for as long as the process lives.
_LOADED: dict[ScorerSource, Scores] = {}
_LOCK = threading.Lock()


def load_once(source: ScorerSource, make: Callable[[], Scores]) -> Scores:
    """The scorer of this process that comes from `source`, which is made at the first call."""
    with _LOCK:
        if source not in _LOADED:
            _LOADED[source] = make()
        return _LOADED[source]


@dataclass(frozen=True)
class Model:
    """A SavedModel to be loaded: what `scorer.Scorer` takes, `inputs` as pairs where they are named."""

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
        """With inputs and constants as `Scorer` takes them."""
        others["constants"] = tuple((constants or {}).items())
        if isinstance(inputs, Mapping):
            fed = tuple((name, of if isinstance(of, str) else tuple(of)) for name, of in inputs.items())
            return cls(model, inputs=fed, **others)
        return cls(model, inputs=None if inputs is None else tuple(inputs), **others)

    def load(self) -> Scores:
        """The model, loaded once in a process."""
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
class StageContext:
    """What every worker needs to know.

    Attributes:
        scorer: where it comes from.
        sink: what predictions are written as.
        folder: where the artifact is made.
        partition_by: the column whose values are folders, or "".
        batch_rows: rows that are scored at once; 0 finds it by measuring.
        scoring_threads: batches of a part that are scored at once; 0 follows from the worker's cores.
        shows_progress: workers are on this machine, and leave there how far they are.
    """

    scorer: ScorerSource
    sink: Sink
    folder: str
    partition_by: str = ""
    batch_rows: int = 0
    scoring_threads: int = 0
    shows_progress: bool = False

    def batcher(self) -> Batcher:
        """Decides how many rows a scorer is given at a time; a process needs one."""
        if not self.batch_rows:
            return Batcher()
        # A size that was asked for stays, however long a batch of it takes.
        size = self.batch_rows
        return Batcher(BatchLimits(start=size, smallest=size, largest=size, seconds=math.inf))

    @property
    def threads(self) -> int:
        """Batches of a part that this worker scores at once."""
        return self.scoring_threads or default_threads()

    @property
    def work(self) -> str:
        """Where workers leave what is not published."""
        return storage.join(self.folder, WORK)


@dataclass(frozen=True)
class PartResult:
    """What came of a part.

    Attributes:
        part: its index.
        rows: read, refused ones too.
        batches: that were scored.
        written: files of predictions, in order.
        reasons: rows in quarantine, by reason.
        examples: the first of them, as (row, message).
        columns: of the predictions, as (name, type); () where there are none.
        distribution: of the predictions.
        error: what ended it; then nothing else counts.
        rules: rows that broke a rule of the Model.
    """

    part: int
    rows: int = 0
    batches: int = 0
    written: tuple[PendingFile, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[tuple[int, str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    distribution: Distribution = field(default_factory=Distribution)
    error: Mapping[str, Any] | None = None
    rules: RuleCounts = field(default_factory=RuleCounts)

    @property
    def counts(self) -> dict[str, int]:
        """As the job's counters count it."""
        return {
            "rows": self.rows,
            "batches": self.batches,
            "predictions": sum(file.rows for file in self.written),
            "bytes": sum(file.bytes for file in self.written),
            **self.rules.metrics,
        }

    def write(self, context: StageContext) -> None:
        """Puts it on record in the work folder; a second try writes the same again."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "distribution"}
        plain["written"] = [dataclasses.asdict(file) for file in self.written]
        plain["distribution"] = self.distribution.to_record()
        plain["rules"] = self.rules.to_json()
        storage.write_bytes(record_uri(context, self.part), json.dumps(plain).encode())

    @classmethod
    def read(cls, context: StageContext, part: int) -> Self:
        """What `write` put on record.

        Raises:
            PlatformError: it is not there.
        """
        uri = record_uri(context, part)
        try:
            plain = json.loads(storage.read_bytes(uri))
        except FileNotFoundError as error:
            raise PlatformError("the job finished without a part of its input", where=uri) from error
        plain["written"] = tuple(PendingFile(**file) for file in plain["written"])
        plain["examples"] = tuple((row, message) for row, message in plain["examples"])
        plain["columns"] = tuple((name, kind) for name, kind in plain["columns"])
        plain["distribution"] = Distribution.from_record(plain["distribution"])
        plain["rules"] = RuleCounts.from_json(plain["rules"])
        return cls(**plain)


def default_threads() -> int:
    """Batches to be scored at once: whole batches side by side leave fewer cores idle than the threads of one do."""
    return min(_MOST_THREADS, _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def record_uri(context: StageContext, part: int) -> str:
    """Where what came of a part is on record."""
    return storage.join(context.work, f"result-{part:06d}.json")


def quarantine_uri(context: StageContext, part: int) -> str:
    """Where the rows of a part wait that went to quarantine."""
    return storage.join(context.work, f"quarantine-{part:06d}.jsonl")


def read_results(context: StageContext, parts: Sequence[int]) -> list[PartResult]:
    """What came of these parts, in their order."""
    with ThreadPoolExecutor(_RECORDS_AT_ONCE) as pool:
        return list(pool.map(lambda part: PartResult.read(context, part), parts))


def metrics_of(results: Sequence[PartResult]) -> dict[str, int]:
    """What the job's counters come to."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)
    return dict(total)
