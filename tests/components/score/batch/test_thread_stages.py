from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from headrace.components.score.batch.thread_stages import ahead, in_order


def test_items_come_in_order_from_a_thread_of_its_own() -> None:
    makers = set()

    def make() -> Iterator[int]:
        for number in range(100):
            makers.add(threading.current_thread())
            yield number

    assert list(ahead(make(), 2)) == list(range(100))
    assert makers
    assert threading.current_thread() not in makers


def test_the_maker_is_ahead_by_no_more_than_was_asked() -> None:
    made = []
    taken = threading.Semaphore(0)

    def make() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            taken.release()
            yield number

    items = ahead(make(), 3)
    assert next(items) == 0
    for _ in range(5):
        # One was taken, three wait, one more is in the maker's hands.
        assert taken.acquire(timeout=600)
    assert made == [0, 1, 2, 3, 4]
    items.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_an_error_is_raised_behind_the_items_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = ahead(make(), 2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_a_maker_that_is_given_up_is_closed() -> None:
    closed = []

    def make() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    items = ahead(make(), 1)
    next(items)
    items.close()
    assert closed == [True]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_work_comes_out_in_order(threads: int) -> None:
    turns = [threading.Event() for _ in range(20)]
    turns[0].set()

    def work(number: int) -> int:
        # With several threads the later of two ends first.
        if threads > 1 and number % 2 == 0:
            assert turns[number + 1].wait(600)
        turns[number].set()
        return number * number

    assert list(in_order(work, range(20), threads)) == [number * number for number in range(20)]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_work_is_raised_in_its_place(threads: int) -> None:
    def work(number: int) -> float:
        return 1 / (3 - number)

    made = in_order(work, range(100), threads)
    assert [next(made) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(made)
