"""Twice as many requests as the server can answer: the rest is refused at once, and memory stays as it is."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.http_server import Served
from support.serving import dynamic, load
from support.tiny_model import INSTANCES

from headrace.components.serve.limits import Limits
from headrace.components.serve.modes.answerer import Answer, Description, RowsRequest
from headrace.core.saved_model.json.columns import Interface

BODY = json.dumps({"instances": INSTANCES[:1]}).encode()
REQUEST = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
# A call answers at most so many rows, and so many wait.
ROWS, WAITING = 8, 64
CALL_S = 0.02


class Stub:
    """An answerer without a model."""

    description = Description("m", "v1", "dynamic", Interface(()), "serving_default", {"outputs": {"y": {}}})

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        return [Answer({"y": np.full(request.rows, 1.0)}, "v1", bare=True) for request in requests]


class Slow:
    """An answerer whose calls last until half of all requests are refused; it counts them and their rows."""

    together = True

    def __init__(self, answerer: Any) -> None:
        self.description = answerer.description
        self._answerer = answerer
        self.rows: list[int] = []
        self.is_overloaded: Callable[[], bool] = lambda: True

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        self.rows.append(sum(request.rows for request in requests))
        time.sleep(CALL_S)
        while not self.is_overloaded():
            time.sleep(0.001)
        answers: Sequence[Answer | Exception] = self._answerer.answer(requests)
        return answers


class Clients:
    """Clients that send two requests for each that is answered, whatever the server refuses.

    Attributes:
        answered: requests with status 200.
        refused: requests with status 503 and Retry-After.
        others: other statuses.
        sending: whether they send more.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answered, self.refused, self.others = 0, 0, list[bytes]()
        self.sending = True
        # What was answered and refused before the present round, whose last answers no requests followed.
        self._before = 0, 0

    async def run(self, answers: int) -> None:
        """Sends requests until so many are answered."""
        self._before = self.answered, self.refused
        self.sending = True
        under_way: set[asyncio.Task[None]] = set()
        wanted, end = 0, self.answered + answers
        while self.answered < end:
            before = self.answered
            wanted = max(wanted, WAITING + ROWS - len(under_way))
            while wanted and len(under_way) < 4 * WAITING:
                under_way.add(asyncio.create_task(self._request()))
                wanted -= 1
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
            wanted += 2 * (self.answered - before)
        self.sending = False
        await asyncio.gather(*under_way)

    def is_ahead(self) -> bool:
        """Whether as many requests of the round are refused as answered, or no more are sent."""
        answered, refused = self._before
        return not self.sending or self.refused - refused >= self.answered - answered

    async def close(self) -> None:
        """Closes all connections."""
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()

    async def _request(self) -> None:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        self._free.append((reader, writer))
        status = head.split(b" ", 2)[1]
        if status == b"200":
            self.answered += 1
        elif status == b"503" and b"retry-after: 1" in head:
            self.refused += 1
        else:
            self.others.append(status)


def memory() -> int:
    """Resident memory of this process, in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def overload(answers: int, answerer: Any) -> tuple[Slow, Clients, tuple[int, int]]:
    """The server under twice its capacity, and memory after a tenth and at the end."""
    slow = Slow(answerer)
    # A connection that waits its turn among the clients' for long must not be closed as idle.
    limits = Limits(max_running=1, max_batch_rows=ROWS, max_waiting=WAITING, keep_alive_s=24 * 3600.0)
    served = Served(slow, limits)
    clients = Clients(served.port)
    # However slow the clients of a busy machine are, the calls are slower.
    slow.is_overloaded = clients.is_ahead

    async def run() -> tuple[int, int]:
        await clients.run(answers // 10)
        before = memory()
        await clients.run(answers - answers // 10)
        after = memory()
        await clients.close()
        return before, after

    try:
        sizes = asyncio.run(run())
    finally:
        clients.sending = False
        served.stop()
        served.join()
    return slow, clients, sizes


def check(slow: Slow, clients: Clients) -> None:
    """Goodput is by counts, so that a busy machine changes nothing: no call has fewer rows than it may have."""
    assert clients.others == []
    assert clients.answered == sum(slow.rows)
    # The first calls of both rounds, and the last ones, when no more is sent, are not full.
    assert sum(slow.rows) >= 0.95 * ROWS * (len(slow.rows) - 4)
    # Nearly twice as many as are answered.
    offered = clients.answered + clients.refused
    assert offered >= 1.5 * clients.answered


@pytest.fixture(params=["stub", "model"])
def answerer(request: pytest.FixtureRequest, tmp_path: Path, make_model: Callable[..., Path]) -> Any:
    return Stub() if request.param == "stub" else dynamic(load(make_model(tmp_path / "model", "v1")))


def test_twice_the_capacity(answerer: Any) -> None:
    slow, clients, _ = overload(800, answerer)
    check(slow, clients)


@pytest.mark.soak
@pytest.mark.parametrize("answerer", ["model"], indirect=True)
def test_twice_the_capacity_for_ten_minutes(answerer: Any) -> None:
    slow, clients, (before, after) = overload(int(600 / CALL_S) * ROWS, answerer)
    check(slow, clients)
    assert after <= 1.05 * before
