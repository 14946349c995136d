"""Adaptive batching: requests that arrive while the event loop turns are one batch; there is no timer.

A batch is whole when two turns of the loop bring no further request, when it fills a block of rows, or when gathering
has taken as long as four calls. While it is in a worker thread, later requests wait and form the next one, so batches
grow with the load, and a lone request waits for two empty turns. The loop itself never calls a model: it goes on
reading, and answers health checks. Calls in the loop were measured, too: at 64 connections they took half as much CPU
again per request, because batches stay small, and at one connection a tenth less. Only keys are looked up in the loop,
in static mode: a thread that shares Python's lock with the loop would take longer to start than the look-up takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from headrace.components.serve.limits import Limits
from headrace.components.serve.modes.answerer import Answer, Answerer, RowsRequest
from headrace.core.scoring.predictor import BLOCK_ROWS

# A second call beside a running one starts once that one has taken this many times as long as calls usually take: a
# batch of a thousand rows must not hold up single rows, but calls side by side compete for the same cores.
_PATIENCE = 3.0
_MINIMUM_PATIENCE_S = 0.01
# Weight of the newest call in the moving average of their durations.
_NEWEST = 0.1
# Turns without a request after which a batch is whole: what a turn reads is decoded in the next one, after its batch.
_EMPTY_TURNS = 2
# Gathering ends after as long as so many calls take, or so long. The answers of the call before are written meanwhile,
# which takes longer than a call of a small model, and their clients' next requests fill the batch.
_GATHER_CALLS = 4
_MAX_GATHER_S = 0.01
# Rows of a table that are looked up in the loop; more are looked up in a thread, so that the loop goes on.
_LOOKED_UP_ROWS = 256
_SWEEPS_PER_LIMIT = 4
_MAX_SWEEP_S = 0.5


class QueueFull(Exception):
    """The maximum number or size of waiting requests is reached."""


class ClientGone(Exception):
    """The client of the request has left."""


class _Waiting:
    """A request in the queue or in a call."""

    __slots__ = ("connected", "deadline", "future", "request", "size")

    def __init__(
        self,
        request: RowsRequest,
        size: int,
        future: asyncio.Future[Answer],
        deadline: float,
        connected: Callable[[], bool] | None,
    ) -> None:
        self.request = request
        self.size = size
        self.future = future
        self.deadline = deadline
        self.connected = connected

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for the answer; if its client has left, the future ends."""
        if self.future.done():
            return False
        if self.connected is None or self.connected():
            return True
        self.future.set_exception(ClientGone())
        return False


class RequestBatcher:
    """The queue of whole requests, and the threads that answer them. All methods are for the event loop's thread.

    Args:
        limits: of the server.
        answerer: returns the answerer in use; read once per batch.
        observe: called after each batch with its number of requests, its rows and its duration in seconds.
    """

    def __init__(
        self,
        limits: Limits,
        answerer: Callable[[], Answerer],
        observe: Callable[[int, int, float], None] = lambda *_: None,
    ) -> None:
        self.limits = limits
        self._answerer = answerer
        self._observe = observe
        self._pool = ThreadPoolExecutor(limits.max_running, thread_name_prefix="predict")
        self._queue: deque[_Waiting] = deque()
        self._bytes = self._rows = 0
        self._running: dict[int, Sequence[_Waiting]] = {}
        self._calls = 0
        self._usual_s = 0.0
        self._last_start = 0.0
        self._turning = False
        # The turn that starts a second call beside a long one.
        self._later: asyncio.TimerHandle | None = None
        self._sweeping = False
        # Requests so far, and at the last turn; and the time until which further turns gather.
        self._arrived = self._gathered = self._empty_turns = 0
        self._gather_until = 0.0

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a call."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of calls at this moment."""
        return len(self._running)

    def submit(
        self, request: RowsRequest, size: int = 0, connected: Callable[[], bool] | None = None
    ) -> asyncio.Future[Answer]:
        """Puts a whole request into the queue.

        Args:
            request: with one or more rows.
            size: of its body in bytes.
            connected: returns whether its client is still there; a request whose client has left is dropped.

        Returns:
            The future answer; it fails with the request's error, with TimeoutError after the time limit, or with
            Abandoned.

        Raises:
            QueueFull: too many requests wait.
        """
        if self._full(size):
            self._drop_abandoned()
            if self._full(size):
                raise QueueFull
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, size, loop.create_future(), loop.time() + self.limits.time_limit_s, connected)
        self._queue.append(waiting)
        self._bytes += size
        self._rows += request.rows
        self._arrived += 1
        if not self._turning and self._later is None:
            self._begin_turns()
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(self._sweep_s, self._sweep)
        return waiting.future

    def close(self) -> None:
        """Drops waiting requests; running calls end by themselves."""
        for waiting in self._queue:
            waiting.future.cancel()
        self._queue.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _full(self, size: int) -> bool:
        # What a free thread takes in the next turn does not wait.
        free = self.limits.max_running - len(self._running)
        return len(self._queue) >= self.limits.max_waiting + free or (
            bool(self._queue) and self._bytes + size > self.limits.max_waiting_bytes
        )

    def _drop_abandoned(self) -> None:
        kept = [waiting for waiting in self._queue if waiting.wanted]
        self._queue = deque(kept)
        self._bytes = sum(waiting.size for waiting in kept)
        self._rows = sum(waiting.request.rows for waiting in kept)

    def _begin_turns(self) -> None:
        loop = asyncio.get_running_loop()
        self._turning = True
        self._gathered = -1
        self._empty_turns = 0
        self._gather_until = loop.time() + min(_GATHER_CALLS * self._usual_s, _MAX_GATHER_S)
        loop.call_soon(self._turn)

    def _gathers(self, answerer: Answerer) -> bool:
        """Whether another turn of the loop may bring more requests for a batch that is not full."""
        self._empty_turns = self._empty_turns + 1 if self._arrived == self._gathered else 0
        self._gathered = self._arrived
        return (
            self._empty_turns < _EMPTY_TURNS
            and answerer.together
            and self._rows < BLOCK_ROWS
            and asyncio.get_running_loop().time() < self._gather_until
        )

    def _turn(self) -> None:
        """Starts calls for the requests that have arrived, as far as threads are free."""
        loop = asyncio.get_running_loop()
        if self._queue and not self._running and self._gathers(self._answerer()):
            loop.call_soon(self._turn)
            return
        self._turning, self._later = False, None
        while self._queue and len(self._running) < self.limits.max_running:
            patience = max(_MINIMUM_PATIENCE_S, _PATIENCE * self._usual_s)
            if self._running and (wait := self._last_start + patience - loop.time()) > 0:
                self._later = loop.call_later(wait, self._turn)
                return
            answerer = self._answerer()
            batch = self._batch(together=answerer.together)
            if batch and not self._running and _is_quick(answerer, batch):
                self._resolve(batch, *_answers(answerer, batch))
                if self._queue:
                    self._begin_turns()
                return
            if batch:
                self._start(answerer, batch)

    def _batch(self, *, together: bool) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._queue:
            first = self._queue[0]
            if batch and (not together or rows + first.request.rows > self.limits.max_batch_rows):
                break
            self._queue.popleft()
            self._bytes -= first.size
            self._rows -= first.request.rows
            if first.wanted:
                batch.append(first)
                rows += first.request.rows
        return batch

    def _start(self, answerer: Answerer, batch: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        self._calls += 1
        number = self._calls
        self._running[number] = batch
        self._last_start = loop.time()

        def work() -> None:
            loop.call_soon_threadsafe(self._finish, number, *_answers(answerer, batch))

        self._pool.submit(work)

    def _resolve(self, batch: Sequence[_Waiting], outcomes: Sequence[Answer | Exception], seconds: float) -> None:
        self._usual_s += _NEWEST * (seconds - self._usual_s) if self._usual_s else seconds
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.future.done():
                continue
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)
        self._observe(len(batch), sum(waiting.request.rows for waiting in batch), seconds)

    def _finish(self, number: int, outcomes: Sequence[Answer | Exception], seconds: float) -> None:
        self._resolve(self._running.pop(number), outcomes, seconds)
        if self._later is not None:
            # A thread is free before that.
            self._later.cancel()
            self._later = None
        if self._queue and not self._turning:
            self._begin_turns()

    @property
    def _sweep_s(self) -> float:
        return min(_MAX_SWEEP_S, self.limits.time_limit_s / _SWEEPS_PER_LIMIT)

    def _sweep(self) -> None:
        """Ends requests whose time is over; a call that has begun goes on, because a thread cannot be stopped."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [waiting for waiting in self._queue if waiting.deadline <= now]
        for batch in self._running.values():
            late += [waiting for waiting in batch if waiting.deadline <= now]
        for waiting in late:
            if not waiting.future.done():
                waiting.future.set_exception(TimeoutError())
        if late:
            self._drop_abandoned()
        self._sweeping = bool(self._queue or self._running)
        if self._sweeping:
            loop.call_later(self._sweep_s, self._sweep)


def _is_quick(answerer: Answerer, batch: Sequence[_Waiting]) -> bool:
    """Whether a batch takes so little time that it may be answered in the loop."""
    return answerer.description.mode == "static" and sum(each.request.rows for each in batch) <= _LOOKED_UP_ROWS


def _answers(answerer: Answerer, batch: Sequence[_Waiting]) -> tuple[Sequence[Answer | Exception], float]:
    """The outcome of each request, and the duration in seconds; an error of the call is that of each."""
    begin = time.perf_counter()
    outcomes: Sequence[Answer | Exception]
    try:
        outcomes = answerer.answer([waiting.request for waiting in batch])
    except Exception as error:
        outcomes = [error] * len(batch)
    return outcomes, time.perf_counter() - begin
