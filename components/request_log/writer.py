"""Request log writer: samples the rows that a server predicted, and writes them in a thread of its own.

Calls never wait: rows beyond the bounded queue, or that a full disk refuses, are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headrace.components.request_log.batch import Arrays, LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.spool import Spool

_log = logging.getLogger("headrace.request_log")
# The longest time that a row waits for others before it is written, in seconds.
_PAUSE_S = 0.2


@dataclass(frozen=True)
class RequestLogCounts:
    """Counts of rows since the start.

    Attributes:
        logged: written to a file.
        dropped: sampled, but dropped: the queue was full, or writing failed.
    """

    logged: int = 0
    dropped: int = 0


class RequestLogWriter:
    """Logs a sample of predicted rows; thread-safe. It implements the server's hook.

    Args:
        config: of the request log.
        tell: receives "logged" or "dropped", and a number of rows; called from any thread.
        seed: of the sampling; None for another sample in each process.

    Raises:
        UsageError: the folder cannot be written.
    """

    def __init__(
        self, config: RequestLogConfig, *, tell: Callable[[str, int], None] | None = None, seed: int | None = None
    ) -> None:
        self._config = config
        self._tell = tell
        self._spool = Spool(config)
        self._random = np.random.default_rng(seed)
        self._changed = threading.Condition()
        self._queue: deque[LoggedBatch] = deque()
        self._bytes = 0
        self._closed = False
        self._counts = RequestLogCounts()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> RequestLogCounts:
        """Counts of rows since the start."""
        return self._counts

    def __call__(self, columns: Arrays, predictions: Arrays, version: str, time: float) -> None:
        """Logs a sample of the rows of a batch; returns at once.

        Args:
            columns: by input of the model, [rows, ...], as it read them; not changed afterwards.
            predictions: by output, [rows, ...]; the same rows, not changed afterwards.
            version: of the model that predicted.
            time: of the prediction, in seconds since the epoch.
        """
        batch = LoggedBatch(columns, predictions, version, time)
        if self._config.share < 1:
            with self._changed:
                drawn = self._random.random(batch.rows)
            at = np.flatnonzero(drawn < self._config.share)
            if not len(at):
                return
            batch = batch.take(at)
        if not batch.rows:
            return
        size = batch.size
        with self._changed:
            if self._closed or self._bytes + size > self._config.queue_bytes:
                self._count(dropped=batch.rows)
                return
            self._queue.append(batch)
            self._bytes += size

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes the rows that wait and completes the file; rows that come later are dropped.

        Args:
            timeout_s: maximum time to wait, in seconds.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._closed:
                    self._changed.wait(_PAUSE_S)
                batches, self._queue, closed = self._queue, deque(), self._closed
            for batch in batches:
                self._write(batch)
            try:
                if closed:
                    self._spool.close()
                    return
                self._spool.rotate_old()
            except OSError as error:
                self._warn(error)
                if closed:
                    return

    def _write(self, batch: LoggedBatch) -> None:
        size = batch.size
        try:
            self._spool.write(batch.to_line())
        except (OSError, TypeError) as error:
            self._warn(error)
            with self._changed:
                self._bytes -= size
                self._count(dropped=batch.rows)
            return
        with self._changed:
            self._bytes -= size
            self._count(logged=batch.rows)

    def _count(self, *, logged: int = 0, dropped: int = 0) -> None:
        self._counts = RequestLogCounts(self._counts.logged + logged, self._counts.dropped + dropped)
        for result, rows in (("logged", logged), ("dropped", dropped)):
            if rows and self._tell is not None:
                self._tell(result, rows)

    def _warn(self, error: Exception) -> None:
        """Logs the first failure; later ones are only counted, as the log may be on the same disk."""
        if not self._failed:
            self._failed = True
            _log.error("the request log cannot be written: %s; its rows are dropped", error)
