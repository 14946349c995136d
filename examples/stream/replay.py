"""Replay of flights: records in the order of time at a rate, and some seconds later the label of each."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Producer

Row = dict[str, Any]


class Replay(threading.Thread):
    """Sends flights to a topic of records, and their times in the air to a topic of labels, until it is stopped.

    Args:
        bootstrap: brokers.
        flights: rows with `air_time`, in the order of time; cancelled ones have None, and no label ever.
        rate: flights per second.
        air_time: the label of a row, which may drift.
        delay_s: minimum and maximum time from a record to its label, in seconds.
    """

    def __init__(
        self,
        bootstrap: str,
        flights: Sequence[Row],
        rate: float,
        air_time: Callable[[Row], float | None],
        delay_s: tuple[float, float] = (0.5, 2.5),
    ) -> None:
        super().__init__(name="replay", daemon=True)
        self._brokers = bootstrap
        self._flights = flights
        self._rate = rate
        self._air_time = air_time
        self._delay = delay_s
        self._ended = threading.Event()
        self._random = random.Random(1)  # noqa: S311 - no secret
        self.sent = 0
        self.labelled: list[Row] = []

    def run(self) -> None:
        """Sends; each round of the flights has keys of its own."""
        producer = Producer({"bootstrap.servers": self._brokers, "linger.ms": 5, "log_level": 0})
        begin = time.monotonic()
        rows = ((turn, row) for turn in itertools.count() for row in self._flights)
        due: list[tuple[float, int, Row]] = []
        while not self._ended.wait(0.02):
            now = time.monotonic()
            for turn, row in itertools.islice(rows, max(0, int((now - begin) * self._rate) - self.sent)):
                key = f"{row['flight']}.{turn}"
                air_time = self._air_time(row)
                record = {name: value for name, value in row.items() if name not in ("flight", "air_time")}
                producer.produce("flights", json.dumps({"key": key, **record}).encode(), key=key.encode())
                self.sent += 1
                if air_time is not None:
                    label = {**record, "flight": key, "air_time": round(air_time, 1)}
                    heapq.heappush(due, (now + self._random.uniform(*self._delay), self.sent, label))
            while due and due[0][0] <= now:
                _, _, label = heapq.heappop(due)
                value = json.dumps({"air_time": label["air_time"]}).encode()
                producer.produce("air-times", value, key=label["flight"].encode())
                self.labelled.append(label)
            producer.poll(0)
        producer.flush(10)

    def stop(self) -> None:
        """Ends the replay."""
        self._ended.set()
        self.join()
