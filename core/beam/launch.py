"""Runs a Beam pipeline on any runner: starts it, says how far it is, counts, and cancels what nobody waits for."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult, PipelineState

from headrace.core.beam.counters import quarantined
from headrace.core.beam.dataflow_errors import explained
from headrace.core.beam.runners import RunnerOptions
from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress
from headrace.core.signals import told_to_end

_SECONDS_BETWEEN_LOOKS = 0.25
# A service is asked over the network, and counts with some delay anyway.
_SECONDS_BETWEEN_QUESTIONS = 15.0
# Pipeline engines give a task about half a minute from SIGTERM on.
_SECONDS_TO_START = 20.0
_LOGGER = logging.getLogger(__name__)


def run(
    build: Callable[[beam.Pipeline], None],
    runner: RunnerOptions,
    job_name: str,
    namespace: str,
    report: Progress,
    *,
    rows_read: Callable[[], int] | None = None,
    launched: Callable[[PipelineResult], None] | None = None,
) -> dict[str, int]:
    """Runs a pipeline to its end, and reports how many rows it has read meanwhile.

    The pipeline has a thread of its own, so that progress is reported from the caller's. Where the caller is given up,
    or asked to end (SIGTERM, as pipeline engines do), a job on a service is cancelled.

    Args:
        build: adds the stages to a pipeline.
        runner: which runs it.
        job_name: where the runner's options give none.
        namespace: of the job's counters, of which "rows" is how many were read.
        report: told how many rows have been read.
        rows_read: counts these where the workers are on this machine; elsewhere the job's own counters do.
        launched: told of the job as soon as there is one.

    Returns:
        The job's counters.

    Raises:
        UsageError: Beam refuses the options.
        PlatformError: the job did not finish, or was asked to end.
    """
    begun = threading.Event()
    failures: list[BaseException] = []
    results: list[PipelineResult] = []

    def work() -> None:
        try:
            try:
                result = launch(build, runner, job_name)
                results.append(result)
            finally:
                begun.set()
            if launched is not None:
                try:
                    launched(result)
                except BaseException:
                    # A job that nobody was told of is not left to itself.
                    result.cancel()
                    raise
            result.wait_until_finish()
        except BaseException as error:
            _LOGGER.debug("the pipeline failed", exc_info=True)
            failures.append(error)

    thread = threading.Thread(target=work, name="beam pipeline", daemon=True)
    asked = time.monotonic()
    try:
        with contextlib.nullcontext() if runner.local else told_to_end():
            thread.start()
            while thread.is_alive():
                thread.join(_SECONDS_BETWEEN_LOOKS)
                rows = 0
                if rows_read is not None:
                    rows = rows_read()
                elif results and thread.is_alive() and time.monotonic() - asked > _SECONDS_BETWEEN_QUESTIONS:
                    rows = counters(results[0], namespace).get("rows", 0)
                    asked = time.monotonic()
                if rows:
                    report(f"{rows:,} rows read", done=rows)
    except BaseException:
        # A job on this machine ends with the process; elsewhere also one that is just being started is not left alone.
        if not runner.local and thread.ident is not None:
            begun.wait(_SECONDS_TO_START)
            if results:
                results[0].cancel()
        raise
    with explained(runner):
        if failures:
            raise failures[0]
        state = results[0].state
        if state != PipelineState.DONE:
            raise PlatformError(
                "the job did not finish", where=runner.name, expected=PipelineState.DONE, received=str(state)
            )
        return counters(results[0], namespace)


def launch(build: Callable[[beam.Pipeline], None], runner: RunnerOptions, job_name: str) -> PipelineResult:
    """Starts a pipeline.

    Raises:
        UsageError: Beam refuses the options.
    """
    options = runner.pipeline_options(job_name)
    try:
        pipeline = beam.Pipeline(runner=runner.make(), options=options)
    except ValueError as error:
        said = " ".join(str(error).partition("errors:")[2].split()) or str(error)
        raise UsageError(f"{runner.name} refuses its options", received=said.rstrip(".")) from error
    build(pipeline)
    return pipeline.run()


def counters(result: PipelineResult, namespace: str) -> dict[str, int]:
    """The job's counters, by name, over all steps."""
    total: Counter[str] = Counter()
    for counter in result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]:
        total[counter.key.metric.name] += int(counter.result or 0)
    return dict(total)


def count(namespace: str, counts: Mapping[str, int], reasons: Mapping[str, int]) -> None:
    """Adds to the job's counters.

    Args:
        namespace: of the counters.
        counts: by name.
        reasons: rows that went to quarantine, by reason: counted as quarantined_REASON, and together as quarantined.
    """
    for name, number in {**counts, **quarantined(reasons)}.items():
        Metrics.counter(namespace, name).inc(number)
