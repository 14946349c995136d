"""The queue: what is one batch, what is refused, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from headrace.components.serve import batcher as batcher_module
from headrace.components.serve.batcher import ClientGone, QueueFull, RequestBatcher
from headrace.components.serve.limits import Limits
from headrace.components.serve.modes.answerer import Answer, Description, RowsRequest
from headrace.core.saved_model.json.columns import Interface


class Recorder:
    """An answerer that records its batches; requests of `held` rows wait."""

    description = Description("m", "v1", "dynamic", Interface(()), "serving_default", {})

    def __init__(self, *, together: bool = True, held: int = 0) -> None:
        self.together = together
        self.batches: list[list[int]] = []
        self.held = held
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        self.batches.append([request.rows for request in requests])
        self.begun.release()
        if any(request.rows == self.held for request in requests):
            assert self.go_on.wait(600)
        return [
            ValueError("odd") if request.rows == 13 else Answer({"y": np.zeros(request.rows)}, "v1")
            for request in requests
        ]


def run(
    answerer: Recorder, scene: Callable[[RequestBatcher], Coroutine[Any, Any, None]], **limits: Any
) -> list[tuple[int, int]]:
    """Runs a scene; returns the requests and rows of each observed batch."""
    seen: list[tuple[int, int]] = []

    async def play() -> None:
        batcher = RequestBatcher(
            Limits(**limits), lambda: answerer, lambda requests, rows, _: seen.append((requests, rows))
        )
        try:
            await asyncio.wait_for(scene(batcher), 600)
        finally:
            answerer.go_on.set()
            batcher.close()

    asyncio.run(play())
    return seen


@pytest.fixture(autouse=True)
def no_limit_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathering ends by what the tests say, however slow this machine is."""
    monkeypatch.setattr(batcher_module, "_MAX_GATHER_S", 6000.0)


def test_all_that_has_arrived_is_one_batch_up_to_the_bound() -> None:
    answerer = Recorder()

    async def scene(batcher: RequestBatcher) -> None:
        answers = await asyncio.gather(*(batcher.submit(RowsRequest(rows)) for rows in (1, 2, 3)))
        assert [len(answer.outputs["y"]) for answer in answers] == [1, 2, 3]
        await asyncio.gather(*(batcher.submit(RowsRequest(rows)) for rows in (4, 4, 4, 20, 1)))

    seen = run(answerer, scene, max_batch_rows=8)
    assert answerer.batches == [[1, 2, 3], [4, 4], [4], [20], [1]]
    assert seen == [(3, 6), (2, 8), (1, 4), (1, 20), (1, 1)]


def test_few_rows_of_a_table_are_looked_up_in_the_loop_with_a_turn_between_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Those after a look-up in a thread wait for its end, however slow this machine is.
    monkeypatch.setattr(batcher_module, "_MINIMUM_PATIENCE_S", 6000.0)

    class Table(Recorder):
        description = Description("m", "v1", "static", Interface(()), "serving_default", {})

        def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
            threads.append((sum(request.rows for request in requests), threading.get_ident(), turns[0]))
            return super().answer(requests)

    threads: list[tuple[int, int, int]] = []
    turns = [0]
    answerer = Table()

    async def scene(batcher: RequestBatcher) -> None:
        def turn() -> None:
            turns[0] += 1
            asyncio.get_running_loop().call_soon(turn)

        turn()
        outcomes = await asyncio.gather(
            *(batcher.submit(RowsRequest(rows)) for rows in (100, 100, 13, 56, 257, 200)), return_exceptions=True
        )
        assert [isinstance(outcome, ValueError) for outcome in outcomes] == [False, False, True, False, False, False]
        assert batcher.waiting == batcher.running == 0

    seen = run(answerer, scene, max_batch_rows=257)
    here = threading.get_ident()
    assert [(rows, thread == here) for rows, thread, _ in threads] == [
        (213, True),
        (56, True),
        (257, False),
        (200, True),
    ]
    assert seen == [(3, 213), (1, 56), (1, 257), (1, 200)]
    at = [turn for _, thread, turn in threads if thread == here]
    assert at[0] < at[1] < at[2]


async def one_per_turn(batcher: RequestBatcher, count: int) -> None:
    """Submits requests of one row in turns of the loop that follow each other, and waits for their answers."""
    futures = []
    for _ in range(count):
        futures.append(batcher.submit(RowsRequest(1)))
        await asyncio.sleep(0)
    await asyncio.gather(*futures)


@pytest.mark.parametrize(("turns", "batches"), [(2, [[1, 2]]), (3, [[1], [2]])])
def test_a_batch_waits_for_what_a_turn_has_read_but_not_decoded(turns: int, batches: list[list[int]]) -> None:
    answerer = Recorder()

    async def scene(batcher: RequestBatcher) -> None:
        batcher._usual_s = 600.0
        first = batcher.submit(RowsRequest(1))
        # The first of these turns follows a request, the others do not.
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.gather(first, batcher.submit(RowsRequest(2)))

    run(answerer, scene)
    assert answerer.batches == batches


def test_a_batch_is_whole_when_a_turn_brings_no_request() -> None:
    answerer = Recorder()

    async def scene(batcher: RequestBatcher) -> None:
        batcher._usual_s = 600.0
        await one_per_turn(batcher, 5)
        await one_per_turn(batcher, 1)

    run(answerer, scene)
    assert answerer.batches == [[1] * 5, [1]]


def test_a_batch_that_fills_a_block_begins() -> None:
    answerer = Recorder()

    async def scene(batcher: RequestBatcher) -> None:
        batcher._usual_s = 600.0
        await one_per_turn(batcher, 200)

    run(answerer, scene, max_running=1)
    assert answerer.batches[0] == [1] * 48
    assert sum(map(len, answerer.batches)) == 200


@pytest.mark.parametrize(("usual_s", "limit_s"), [(0.0, 6000.0), (600.0, 0.0)], ids=["a call takes", "the limit"])
def test_a_batch_is_not_gathered_for_longer_than(
    usual_s: float, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "_MAX_GATHER_S", limit_s)
    answerer = Recorder()

    async def scene(batcher: RequestBatcher) -> None:
        batcher._usual_s = usual_s
        await one_per_turn(batcher, 20)

    run(answerer, scene, max_running=1)
    assert answerer.batches[0] == [1]


def test_what_waited_during_a_call_gathers_too() -> None:
    answerer = Recorder(held=9)

    async def scene(batcher: RequestBatcher) -> None:
        long = batcher.submit(RowsRequest(9))
        await asyncio.to_thread(answerer.begun.acquire)
        waiting = batcher.submit(RowsRequest(1))

        async def again() -> None:
            await long
            await batcher.submit(RowsRequest(2))

        asked = asyncio.ensure_future(again())
        batcher._usual_s = 600.0
        answerer.go_on.set()
        await asyncio.gather(waiting, asked)

    run(answerer, scene, max_running=1)
    assert answerer.batches == [[9], [1, 2]]


def test_what_waits_begins_when_a_call_ends_before_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "_MINIMUM_PATIENCE_S", 6000.0)
    answerer = Recorder(held=9)

    async def scene(batcher: RequestBatcher) -> None:
        long = batcher.submit(RowsRequest(9))
        await asyncio.to_thread(answerer.begun.acquire)
        waiting = batcher.submit(RowsRequest(1))
        while batcher._later is None:
            await asyncio.sleep(0)
        answerer.go_on.set()
        await asyncio.gather(long, waiting)

    run(answerer, scene, max_running=2)
    assert answerer.batches == [[9], [1]]


def test_an_error_is_of_its_request_alone() -> None:
    async def scene(batcher: RequestBatcher) -> None:
        futures = [batcher.submit(RowsRequest(rows)) for rows in (1, 13, 2)]
        first, second, third = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(second, ValueError)
        assert isinstance(first, Answer)
        assert isinstance(third, Answer)

    run(Recorder(), scene)


def test_rows_that_depend_on_each_other_are_not_batched() -> None:
    answerer = Recorder(together=False)

    async def scene(batcher: RequestBatcher) -> None:
        await asyncio.gather(*(batcher.submit(RowsRequest(rows)) for rows in (1, 2, 3)))

    run(answerer, scene)
    assert sorted(answerer.batches) == [[1], [2], [3]]


def test_requests_wait_for_a_usual_call_but_not_for_an_unusually_long_one() -> None:
    answerer = Recorder(held=9)

    async def scene(batcher: RequestBatcher) -> None:
        long = batcher.submit(RowsRequest(9))
        await asyncio.to_thread(answerer.begun.acquire)
        # It is answered beside the long call.
        await batcher.submit(RowsRequest(1))
        assert batcher.running == 1
        assert not long.done()
        answerer.go_on.set()
        await long

    run(answerer, scene)


def test_what_waits_is_bounded_in_number_and_size() -> None:
    answerer = Recorder(held=1)

    async def scene(batcher: RequestBatcher) -> None:
        running = batcher.submit(RowsRequest(1))
        await asyncio.to_thread(answerer.begun.acquire)
        waiting = [batcher.submit(RowsRequest(2), 40) for _ in range(2)]
        with pytest.raises(QueueFull):
            batcher.submit(RowsRequest(2), 40)
        assert batcher.waiting == 2
        there = [True]
        waiting.append(batcher.submit(RowsRequest(2), 20, lambda: there[0]))
        with pytest.raises(QueueFull):
            batcher.submit(RowsRequest(2))
        # The client of the last one leaves, and its place is free.
        there[0] = False
        last = waiting.pop()
        waiting.append(batcher.submit(RowsRequest(3)))
        assert isinstance(last.exception(), ClientGone)
        answerer.go_on.set()
        await asyncio.gather(running, *waiting)

    run(answerer, scene, max_running=1, max_waiting=3, max_waiting_bytes=100)
    assert answerer.batches == [[1], [2, 2, 3]]


def test_an_abandoned_request_is_not_answered() -> None:
    answerer = Recorder()

    async def scene(batcher: RequestBatcher) -> None:
        gone = batcher.submit(RowsRequest(2), connected=lambda: False)
        await batcher.submit(RowsRequest(1))
        assert isinstance(gone.exception(), ClientGone)

    run(answerer, scene)
    assert answerer.batches == [[1]]


def test_the_time_limit_counts_waiting_and_running() -> None:
    answerer = Recorder(held=1)

    async def scene(batcher: RequestBatcher) -> None:
        running = batcher.submit(RowsRequest(1))
        await asyncio.to_thread(answerer.begun.acquire)
        waiting = batcher.submit(RowsRequest(2))
        results = await asyncio.gather(running, waiting, return_exceptions=True)
        assert [type(result) for result in results] == [TimeoutError, TimeoutError]
        assert batcher.waiting == 0
        assert batcher.running == 1

    run(answerer, scene, max_running=1, time_limit_s=0.05)
    assert answerer.batches == [[1]]
