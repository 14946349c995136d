"""Beam pipeline of scoring: an element is a part of the input, and only its result is sent through the runner."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from headrace.components.score.batch.batcher import BatchSizer
from headrace.components.score.batch.part_result import PartResult, Scores, ScoringContext, read_results
from headrace.components.score.batch.score_part import score_part
from headrace.components.score.config import ScoreConfig
from headrace.core.beam.launch import count, run
from headrace.core.beam.runners import DirectRunner
from headrace.core.progress import Progress
from headrace.core.sources.source import Part
from headrace.core.steps import gcp_resources

# Beam's metrics of the job are counters of this namespace: rows, batches, predictions, bytes, quarantined and
# quarantined_REASON.
METRICS = "headrace.score"


def run_parts(
    config: ScoreConfig, context: ScoringContext, parts: Sequence[Part], report: Progress
) -> tuple[list[PartResult], Mapping[str, int]]:
    """Scores the parts on the runner of the configuration.

    Returns:
        The result of each part, in order, and the job's counters: a runner that retries a bundle may have counted it
        twice.

    Raises:
        UsageError: Beam refuses the options.
        PlatformError: the job did not finish.
    """
    runner = config.runner
    if runner is None:
        raise ValueError("there must be a runner")

    def launched(result: PipelineResult) -> None:
        if config.gcp_resources:
            gcp_resources.write_beam_job(config.gcp_resources, runner, result)

    metrics = run(
        lambda pipeline: build(pipeline, context, parts, spread=runner != DirectRunner()),
        runner,
        f"headrace-score-{config.identity}",
        METRICS,
        report,
        rows_read=(lambda: _rows_read(Path(context.work))) if context.shows_progress else None,
        launched=launched,
    )
    return read_results(context, [part.index for part in parts]), metrics


def build(pipeline: beam.Pipeline, context: ScoringContext, parts: Sequence[Part], *, spread: bool = True) -> None:
    """Adds the stages to a pipeline.

    Args:
        pipeline: the pipeline.
        context: the job description.
        parts: parts of the input.
        spread: whether to shuffle them; otherwise a service runs all on one worker. Useless for a single worker.
    """
    listed = pipeline | "parts" >> beam.Create(list(parts), reshuffle=False)
    if spread:
        listed |= "spread" >> beam.Reshuffle()
    listed | "score" >> beam.ParDo(_Score(context))


class _Score(beam.DoFn):
    """Part -> files of predictions, and its result in the work folder."""

    def __init__(self, context: ScoringContext) -> None:
        self._context = context
        self._loaded: tuple[Scores, BatchSizer] | None = None

    def setup(self) -> None:
        """Loads the model, which the stages of a process share."""
        self._loaded = self._context.scorer.load(), self._context.batcher()

    def process(self, part: Part) -> Iterator[None]:
        """Scores a part."""
        if self._loaded is None:
            raise RuntimeError("the stage was not set up")
        result = score_part(self._context, part, *self._loaded, _teller(self._context, part))
        result.write(self._context)
        count(METRICS, result.counts, result.reasons)
        yield from ()


def _teller(context: ScoringContext, part: Part) -> Callable[[int], None] | None:
    """Writes the number of a part's scored rows for the waiting process."""
    if not context.shows_progress:
        return None
    file = Path(context.work) / f"rows-{part.index:06d}"

    def tell(rows: int) -> None:
        # A failure to write progress is ignored.
        with contextlib.suppress(OSError):
            file.write_text(str(rows))

    return tell


def _rows_read(work: Path) -> int:
    total = 0
    for file in work.glob("rows-*"):
        # A file that is being written may be empty.
        with contextlib.suppress(OSError, ValueError):
            total += int(file.read_text())
    return total
