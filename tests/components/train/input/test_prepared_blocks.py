from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.components.train.input.prepared_blocks import Calls, SharedBlocks, in_parallel


def test_each_block_is_read_once_by_whoever_needs_it_first() -> None:
    read: list[tuple[int, int]] = []
    begun = threading.Event()

    def of(epoch: int, number: int) -> list[int]:
        read.append((epoch, number))
        begun.wait(600)
        return [epoch, number]

    blocks = SharedBlocks(of, held=2)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(blocks.get, 0, 1) for _ in range(4)]
        begun.set()
        assert [future.result() for future in waiting] == [[0, 1]] * 4
    assert read == [(0, 1)]
    blocks.get(0, 2)
    blocks.get(1, 0)
    # The oldest was released.
    blocks.get(0, 2)
    blocks.get(0, 1)
    assert read == [(0, 1), (0, 2), (1, 0), (0, 1)]


def test_all_who_need_a_block_get_its_error() -> None:
    def failing(_: int, number: int) -> list[int]:
        raise ValueError(f"block {number}")

    blocks = SharedBlocks(failing, held=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="block 3"):
            blocks.get(0, 3)


def test_results_come_in_order_and_an_error_at_its_place() -> None:
    assert list(in_parallel(lambda number: number * number, range(40))) == [n * n for n in range(40)]
    found = in_parallel(lambda number: 6 // (3 - number), range(40))
    assert [next(found) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_the_end_of_the_process_waits_for_calls() -> None:
    calls, begun, release = Calls(), threading.Event(), threading.Event()
    order: list[str] = []

    def call() -> None:
        with calls:
            begun.set()
            release.wait(600)
            order.append("call")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(call)
        begun.wait(600)
        threading.Timer(0.05, release.set).start()
        calls.wait()
        order.append("end")
        done.result()
    assert order == ["call", "end"]
