"""Slow clients beside others: the others' latency with 1,000 of them, and when the slow ones are cut.

Usage: python benchmarks/serve_slow.py [--quick]

The model, the requests, the server's core and wrk are those of benchmarks/serve.py, with 64 connections. A slow client
sends a byte per second: a third of them of headers, a third of a body, and a third of headers for half of the time and
then of a body. It connects again when it is cut.

The same slow clients at a listener elsewhere are the control: what sends their bytes is on the machine too, and slows a
server that has nothing to do with it. Each round measures the control, twice the server, and the
control again, because a shared machine is slower for minutes; the ratio is the median of those of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import selectors
import shutil
import socket
import statistics
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import serve
from common import SPREAD, Ratio, Rows, conclude, prove, spread

from headrace.components.serve.limits import Limits

SLOW = 1_000
# The maximum life of a slow client, and what this benchmark's own thread may see later on a busy machine.
LIMIT_S, LATE_S = 10.0, 1.0
_BYTE_S = 1.0
# So long that slow clients connect, are cut, and connect again.
_PHASE_S = 12
_HEAD = b"POST /v1/models/flights:predict HTTP/1.1\r\nHost: a\r\nX-Slow: "
_END = b"\r\nContent-Length: 1000\r\n\r\n{"
_BODY = _HEAD + b"a" + _END
# From a client's first byte until it ends its headers, where it drips both.
_HEAD_S = LIMIT_S / 2


@dataclass
class SlowClients:
    """Clients that send a byte per second each, evenly spread over the second, in a thread of their own.

    Attributes:
        lived: seconds from the connection to the end of each that was cut.
        statuses: of the responses that they were cut with.
    """

    url: str
    lived: list[float] = field(default_factory=list)
    statuses: set[bytes] = field(default_factory=set)

    def __enter__(self) -> SlowClients:
        parts = urlsplit(self.url)
        self._address = (str(parts.hostname), int(parts.port or 80))
        self._selector = selectors.DefaultSelector()
        self._open: list[socket.socket | None] = [None] * SLOW
        self._since: dict[socket.socket, tuple[int, float]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        for one in self._since:
            one.close()

    def _run(self) -> None:
        # Not on the server's core, as on a machine of their own; the load generator is on the last one, too.
        thread = threading.get_native_id()
        os.sched_setaffinity(thread, sorted(os.sched_getaffinity(0))[-1:])
        # Nor may it hold up the load generator, whose latencies count.
        os.setpriority(os.PRIO_PROCESS, thread, 19)
        due, turn = time.monotonic(), 0
        while not self._end.is_set():
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                self._cut(key.fileobj)  # type: ignore[arg-type]
            while due <= time.monotonic():
                due += _BYTE_S / SLOW
                turn = (turn + 1) % SLOW
                self._send(turn)

    def _send(self, number: int) -> None:
        """The next byte of a client; one that was cut connects again."""
        one = self._open[number]
        if one is not None:
            # It is due once per second, so this is so once.
            ends = number % 3 == 2 and 0 <= time.monotonic() - self._since[one][1] - _HEAD_S < _BYTE_S
            with contextlib.suppress(OSError):
                one.send(_END if ends else b"x")
            return
        one = socket.create_connection(self._address, timeout=30)
        one.sendall(_BODY if number % 3 == 1 else _HEAD)
        one.setblocking(False)
        self._open[number], self._since[one] = one, (number, time.monotonic())
        self._selector.register(one, selectors.EVENT_READ)

    def _cut(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.statuses.add(one.recv(4096)[9:12])
        number, since = self._since.pop(one)
        self.lived.append(time.monotonic() - since)
        self._selector.unregister(one)
        self._open[number] = None
        one.close()


class Elsewhere:
    """A listener on the load generator's core, which cuts its clients as the server does."""

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=SLOW)
        self._half = Limits().arrival_time_s / 2
        self._listener.settimeout(self._half / SLOW)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        os.sched_setaffinity(threading.get_native_id(), sorted(os.sched_getaffinity(0))[-1:])
        held: deque[tuple[float, socket.socket]] = deque()
        half, due = self._half, 0.0
        while not self._end.is_set():
            with contextlib.suppress(TimeoutError):
                held.append((time.monotonic(), self._listener.accept()[0]))
            now = time.monotonic()
            if held and held[0][0] + half < now and due < now:
                due = max(due, now - half / SLOW) + half / SLOW
                held.popleft()[1].close()
        for _, one in held:
            one.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds instead of ten")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    shutil.rmtree(serve.WORK, ignore_errors=True)
    serve.WORK.mkdir(parents=True)
    serve.DATA.mkdir(parents=True, exist_ok=True)
    serve.train()
    bodies, wrk = serve.requests_file(), serve.load_generator()
    (server,), _ = serve.servers_here([], install=False)
    alone: list[serve.Load] = []
    control: list[serve.Load] = []
    beside: list[serve.Load] = []
    ratios: list[float] = []
    lived: list[float] = []
    statuses: set[bytes] = set()
    with serve.running(server) as (url, process), Elsewhere() as elsewhere:

        def load() -> serve.Load:
            return serve.load(wrk, url, server.path, bodies, process, serve.CONNECTIONS, _PHASE_S)

        load()
        for _ in range(rounds):
            alone.append(load())
            for to, found in ((elsewhere, control), (url, beside), (url, beside), (elsewhere, control)):
                with SlowClients(to) as slow:
                    found.append(load())
                if to == url:
                    lived += slow.lived
                    statuses |= slow.statuses
            ratios.append(serve.pooled(control[-2:], 0.99) / serve.pooled(beside[-2:], 0.99))
            print(f"elsewhere {control[-2:]}\nhere {beside[-2:]}\np99: {ratios[-1]:.3f}", flush=True)
    prove("no request failed", not any(one.failed for one in (*alone, *control, *beside)))
    prove("each slow client got 408", statuses == {b"408"})
    prove(f"each was cut within {LIMIT_S:g} s", bool(lived) and max(lived) < LIMIT_S + LATE_S)
    lines = [
        line("no slow clients", alone, "-"),
        line(f"{SLOW:,} of a listener elsewhere", control, "-"),
        line(f"{SLOW:,} of the server", beside, f"{min(lived):.1f} to {max(lived):.1f}"),
    ]
    header = ("slow clients", "requests/s", "CPU us", "p50 ms", "p99 ms", "p99.9 ms", "cut after s")
    tables = [
        Rows("64 connections beside slow clients, medians", header, lines),
        Rows(
            "p99 with slow clients elsewhere, by p99 with them here",
            ("rounds", *SPREAD),
            [(str(rounds), *spread(ratios))],
        ),
    ]
    measured = {"serve_slow.p99_elsewhere_vs_here": Ratio(statistics.median(ratios), 0.95, 1.0)}
    return conclude("serve_slow", tables, measured, {})


def line(name: str, loads: list[serve.Load], cut: str) -> tuple[str, ...]:
    latencies = (f"{1000 * statistics.median(getattr(one, of) for one in loads):.1f}" for of in ("p50", "p99", "p999"))
    rate, cpu = serve.median(loads, lambda one: one.rate), serve.median(loads, lambda one: one.cpu)
    return (name, f"{rate:,.0f}", f"{1e6 * cpu:,.0f}", *latencies, cut)


if __name__ == "__main__":
    sys.exit(main())
