"""Beam launcher: runs a pipeline on any runner, reports progress and counters, and cancels it when it is given up."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from headrace.core.beam.counters import quarantined
from headrace.core.beam.dataflow_errors import translate_errors
from headrace.core.beam.runners import RunnerOptions
from headrace.core.errors import PlatformError, UsageError
from headrace.core.progress import Progress
from headrace.core.signals import raise_on_sigterm

_SECONDS_BETWEEN_LOOKS = 0.25
# Counters of a service are read over the network, and are some seconds late anyway.
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
    """Runs a pipeline to its end, and reports the rows read meanwhile.

    The pipeline runs in a thread of its own, so that progress is reported from the caller's. When the caller is
    interrupted or terminated (SIGTERM, as pipeline engines send), a job on a service is cancelled.

    Args:
        build: adds the stages to a pipeline.
        runner: options of the runner.
        job_name: used where the runner's options give none.
        namespace: of the job's counters; its "rows" counts the rows read.
        report: receives the number of rows read.
        rows_read: counts them where the workers are on this machine; elsewhere the job's own counters do.
        launched: receives the job as soon as it exists.

    Returns:
        The job's counters.

    Raises:
        UsageError: Beam refuses the options.
        PlatformError: the job did not finish, or the process was terminated.
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
                    # A job that could not be recorded is cancelled, as nobody would find it.
                    result.cancel()
                    raise
            result.wait_until_finish()
        except BaseException as error:
            _LOGGER.debug("the pipeline failed", exc_info=True)
            failures.append(error)

    thread = threading.Thread(target=work, name="beam pipeline", daemon=True)
    polled = time.monotonic()
    try:
        with contextlib.nullcontext() if runner.local else raise_on_sigterm():
            thread.start()
            while thread.is_alive():
                thread.join(_SECONDS_BETWEEN_LOOKS)
                rows = 0
                if rows_read is not None:
                    rows = rows_read()
                elif results and thread.is_alive() and time.monotonic() - polled > _SECONDS_BETWEEN_QUESTIONS:
                    rows = counters(results[0], namespace).get("rows", 0)
                    polled = time.monotonic()
                if rows:
                    report(f"{rows:,} rows read", done=rows)
    except BaseException:
        # A job on this machine ends with the process; elsewhere also a job that is still starting is waited for.
        if not runner.local and thread.ident is not None:
            begun.wait(_SECONDS_TO_START)
            if results:
                results[0].cancel()
        raise
    with translate_errors(runner):
        if failures:
            raise failures[0]
        state = results[0].state
        if state != PipelineState.DONE:
            raise PlatformError(
                "the job did not finish", where=runner.name, expected=PipelineState.DONE, received=str(state)
            )
        return counters(results[0], namespace)


def launch(
    build: Callable[[beam.Pipeline], None], runner: RunnerOptions, job_name: str, *, streaming: bool = False
) -> PipelineResult:
    """Starts a pipeline.

    Args:
        build: adds the stages to a pipeline.
        runner: options of the runner.
        job_name: used where the runner's options give none.
        streaming: whether its input never ends.

    Raises:
        UsageError: Beam refuses the options.
    """
    options = runner.pipeline_options(job_name)
    if streaming:
        options.view_as(StandardOptions).streaming = True
    try:
        pipeline = beam.Pipeline(runner=runner.make_streaming() if streaming else runner.make(), options=options)
    except ValueError as error:
        message = " ".join(str(error).partition("errors:")[2].split()) or str(error)
        raise UsageError(f"{runner.name} rejected its options", received=message.rstrip(".")) from error
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
