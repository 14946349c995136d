"""Streams: starts a pipeline that does not end; on this machine, runs it until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from headrace.core import storage
from headrace.core.beam.dataflow_errors import translate_errors
from headrace.core.beam.launch import launch
from headrace.core.beam.runners import RunnerOptions
from headrace.core.errors import UsageError

_SECONDS_BETWEEN_LOOKS = 0.5
_READ_PUBSUB = ("DirectRunner", "DataflowRunner")


def check_reads_pubsub(runner: RunnerOptions) -> None:
    """Checks that a runner can read Pub/Sub from Python.

    Raises:
        UsageError: it cannot.
    """
    if runner.name not in _READ_PUBSUB:
        raise UsageError(
            "the runner does not read Pub/Sub",
            where="--runner",
            expected=" or ".join(_READ_PUBSUB),
            received=runner.name,
        )


def check_reachable(runner: RunnerOptions, places: Mapping[str, str]) -> None:
    """Checks that workers on other machines can reach files.

    Args:
        runner: options of the runner.
        places: URI or path by option.

    Raises:
        UsageError: a place is on this machine's disk, and the workers are not on it.
    """
    for option, place in places.items():
        if not runner.local and not (storage.is_remote(place) or place.startswith("projects/")):
            raise UsageError(
                f"the workers of {runner.name} cannot reach it", where=option, expected="gs://...", received=place
            )


def run_stream(
    build: Callable[[beam.Pipeline], None],
    runner: RunnerOptions,
    job_name: str,
    stop: threading.Event,
    started: Callable[[PipelineResult], None] = lambda _: None,
) -> PipelineResult:
    """Starts a pipeline. A job on a service goes on by itself; one on this machine runs until `stop` is set.

    Args:
        build: adds the stages to a pipeline.
        runner: options of the runner.
        job_name: used where the runner's options give none.
        stop: ends a job on this machine; its bundle that is being processed is finished.
        started: called with the job when it runs.

    Returns:
        The job, with its counters.

    Raises:
        UsageError: Beam refuses the options.
        HeadraceError: a stage failed on this machine, as often as Beam tries.
    """
    with translate_errors(runner):
        result = launch(build, runner, job_name, streaming=True)
    started(result)
    if not runner.local:
        return result
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            result.wait_until_finish()
        except BaseException as error:
            failures.append(error)

    # Beam's own wait never ends for a job that is cancelled.
    waiting = threading.Thread(target=wait, name="beam stream", daemon=True)
    waiting.start()
    while waiting.is_alive() and not stop.wait(_SECONDS_BETWEEN_LOOKS):
        pass
    if failures:
        raise failures[0]
    if waiting.is_alive():
        result.cancel()
    return result
