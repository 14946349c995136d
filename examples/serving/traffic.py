"""Traffic of the serving example: requests at a steady rate from a thread, and what came of each.

A request is sent when it is due, whether or not earlier ones are answered; its latency counts from then.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Row = Mapping[str, Any]
_CONNECTIONS = 32
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What came of a request.

    Attributes:
        at: time of the answer, in seconds since the epoch.
        status: of HTTP; 0 without an answer.
        version: that answered; "" if unknown.
        seconds: from when it was due to its answer.
    """

    at: float
    status: int
    version: str
    seconds: float


class Traffic:
    """Sends one row per request until it is stopped.

    Attributes:
        outcomes: of all requests so far.

    Args:
        url: of the predict route.
        row: returns the next row.
        rate: requests per second.
    """

    def __init__(self, url: str, row: Callable[[], Row], rate: float) -> None:
        self.outcomes: list[Outcome] = []
        self._url = urlsplit(url)
        self._row = row
        self._rate = rate
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Sends no more, and waits for the answers under way."""
        self._ends.set()
        self._thread.join()

    async def _run(self) -> None:
        due: deque[float] = deque()
        arrived = asyncio.Semaphore(0)
        workers = [asyncio.create_task(self._work(due, arrived)) for _ in range(_CONNECTIONS)]
        at = time.time()
        while not self._ends.is_set():
            at += 1 / self._rate
            await asyncio.sleep(max(0.0, at - time.time()))
            due.append(at)
            arrived.release()
        for _ in workers:
            arrived.release()
        await asyncio.gather(*workers)

    async def _work(self, due: deque[float], arrived: asyncio.Semaphore) -> None:
        """Sends one request after the other over one connection."""
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            await arrived.acquire()
            if not due:
                break
            at, body = due.popleft(), json.dumps({"instances": [self._row()]}).encode()
            try:
                if streams is None:
                    streams = await asyncio.open_connection(self._url.hostname, self._url.port)
                status, version, closes = await asyncio.wait_for(self._ask(*streams, body), _TIMEOUT_S)
            except (OSError, EOFError, ValueError, TimeoutError):
                status, version, closes = 0, "", True
            self.outcomes.append(Outcome(time.time(), status, version, time.time() - at))
            if closes and streams is not None:
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes
    ) -> tuple[int, str, bool]:
        """Status and version of the answer, and whether the server closes the connection."""
        head = f"POST {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in answer[1:])}
        await reader.readexactly(int(headers.get("content-length", "0")))
        status = int(answer[0].split()[1])
        return status, headers.get("x-model-version", ""), headers.get("connection", "").lower() == "close"
