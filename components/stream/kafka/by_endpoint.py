"""Scoring by requests to an endpoint. Its deployments change its model, so there are no model events to follow."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.by_http import HttpScorer
from headrace.components.stream.records.score import RecordResult
from headrace.core.errors import PlatformError
from headrace.core.retry import backoff_seconds

_log = logging.getLogger("headrace.stream")

_TICK_S = 0.1
_MAX_WAIT_S = 10.0
Answer = tuple[str, list[RecordResult]]


class ByEndpoint:
    """Scores the records of one application by requests; see `Scoring`.

    While the endpoint does not respond, the batch is retried with backoff, and no offset is committed.

    Args:
        app: name of the application.
        scorer: sends the requests.
        metrics: metrics of the Kafka scorer.
    """

    def __init__(self, app: str, scorer: HttpScorer, metrics: StreamMetrics) -> None:
        self._app = app
        self._scorer = scorer
        self._metrics = metrics
        self._used: UsedModel | None = None
        # A thread, so that the loop's thread can stay in the group during requests.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="score")

    def start(self, stopped: Callable[[], bool], tick: Callable[[], None]) -> bool:
        """Does nothing, because the endpoint has the model."""
        del tick
        return not stopped()

    @property
    def settled(self) -> bool:
        """Always True."""
        return True

    def turn(self) -> Sequence[ModelOutcome]:
        """Empty, because the endpoint raises its own alarms."""
        return ()

    @property
    def in_use(self) -> Mapping[str, UsedModel | None]:
        """The version that the endpoint reported last; empty before the first batch."""
        return {} if self._used is None else {self._app: self._used}

    def has_model(self, app: str) -> bool:
        """Always True: `score` waits for an endpoint without a model."""
        del app
        return True

    def score(
        self, app: str, values: Sequence[bytes | None], wait: Callable[[], None]
    ) -> tuple[UsedModel | None, list[RecordResult]]:
        """Scores a batch by one or more requests."""
        del app
        begin = time.perf_counter()
        attempts = 0
        while True:
            stop = threading.Event()
            future = self._pool.submit(self._scorer.score, values, stop)
            try:
                _await(future, wait)
            finally:
                # If `wait` gives up, requests must not be retried.
                stop.set()
            error = future.exception()
            if error is None:
                version, scored = future.result()
                self._used = UsedModel(version)
                self._metrics.batch(len(values), time.perf_counter() - begin)
                return self._used, scored
            if not isinstance(error, PlatformError):
                raise error
            attempts += 1
            self._metrics.count("retries_total", what="endpoint")
            _log.warning("%d records are scored again: %s", len(values), error.paragraph)
            end = time.monotonic() + backoff_seconds(attempts, max_s=_MAX_WAIT_S)
            while time.monotonic() < end:
                time.sleep(_TICK_S)
                wait()

    def close(self) -> None:
        """Ends the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _await(future: Future[Answer], wait: Callable[[], None]) -> None:
    while not future.done():
        if not wait_for([future], timeout=_TICK_S).done:
            wait()
