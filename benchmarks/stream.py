"""Stream scoring in four ways: in process and by HTTP, a record at a time and micro-batched, on the same stream.

Usage: python benchmarks/stream.py [--quick]

The wide and deep model of benchmarks/score.py, and one flight per record, as JSON. Each way gets the same records at
the same times, drawn once at random for each rate: it takes what has arrived, as a batch or one by one, and a record's
latency ends when its prediction is there. A backlog, all of which has arrived, measures the throughput. The server has
a core of its own, and the scorer another. Ways are measured in turn, and their predictions are compared. Ratios are
those of CPU seconds per record, of scorer and server together, which a neighbour on the machine leaves alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import serve
from common import Ratio, Rows, conclude, prove

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.records.by_http import HttpScorer
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import EPOCH, Scored, score_records
from headrace.core.model_events.event import ModelEvent
from headrace.core.saved_model.find import find_source
from headrace.core.scoring.online.model import OnlineModel

RATES = (200, 2_000)
COMPARED = 500
BATCH = 1_000
# A way that falls behind is stopped after so many times the length of the stream.
PATIENCE = 3
WAYS = (
    "in process, record by record",
    "in process, micro-batched",
    "by HTTP, record by record",
    "by HTTP, micro-batched",
)

Score = Callable[[Sequence[bytes]], list[Scored]]


@dataclass(frozen=True)
class Way:
    """A way to score a stream.

    Attributes:
        score: scores records, in one call or one by one.
        batched: whether what has arrived is one call.
    """

    score: Score
    batched: bool


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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds, streams of 3 s and backlogs of 2 s")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument("--seconds", type=int, default=15, help="length of a stream, in seconds (default: 15)")
    arguments = parser.parse_args()
    rounds, seconds = (2, 3) if arguments.quick else (arguments.rounds, arguments.seconds)
    shutil.rmtree(serve.WORK, ignore_errors=True)
    serve.WORK.mkdir(parents=True)
    serve.DATA.mkdir(parents=True, exist_ok=True)
    serve.train()
    records = [json.dumps(json.loads(line)["instances"][0]).encode() for line in serve.requests_file().open()]
    arrivals = {rate: schedule(rate, seconds) for rate in RATES}
    server, _ = serve.servers_here([], install=False)
    latencies: dict[str, dict[int, list[Latency]]] = {name: {rate: [] for rate in RATES} for name in WAYS}
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    with serve.running(server[0]) as (url, process):
        # Its own core: the server has the first one.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[1:2] or os.sched_getaffinity(0))
        ways = ways_of(f"{url}{server[0].path}")
        same(ways, records[:COMPARED])
        for number in range(rounds + 1):
            for name, way in ways.items():
                for rate, times in arrivals.items():
                    found = play(way, records, times, seconds * PATIENCE)
                    print(f"{name}, {rate}/s, round {number}: {found}", flush=True)
                    if number:
                        latencies[name][rate].append(found)
                before = used(process)
                drained, took = backlog(way, records, 2.0 if arguments.quick else 5.0)
                print(f"{name}, backlog, round {number}: {drained / took:,.0f} records/s", flush=True)
                if number:
                    rates[name].append(drained / took)
                    cpu[name].append((used(process) - before) / drained)
    return conclude(
        "stream", tables(latencies, rates, cpu), ratios(cpu), {"quick": arguments.quick, "seconds": seconds}
    )


def ways_of(url: str) -> dict[str, Way]:
    """The four ways."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    source = find_source(str(serve.MODEL), name="flights")
    event = ModelEvent("flights", 1, "promote", source.version, str(serve.MODEL), "0" * 64)
    loaded, codec = LoadedModel(event, OnlineModel(source)), JsonCodec()
    one = HttpScorer(EndpointOptions(url, rows_per_request=1, concurrency=1))
    many = HttpScorer(EndpointOptions(url, rows_per_request=BATCH, concurrency=1))

    def in_process(values: Sequence[bytes]) -> list[Scored]:
        return score_records(values, loaded, codec)

    found = (
        Way(in_process, False),
        Way(in_process, True),
        Way(lambda values: one.score(values)[1], False),
        Way(lambda values: many.score(values)[1], True),
    )
    return dict(zip(WAYS, found, strict=True))


def schedule(rate: int, seconds: int) -> np.ndarray:
    """Times of arrival, in seconds from the begin: independent ones, the same for each way."""
    gaps = np.random.default_rng(rate).exponential(1 / rate, rate * seconds * 2)
    times = np.cumsum(gaps)
    return times[times < seconds]


def same(ways: Mapping[str, Way], records: Sequence[bytes]) -> None:
    """Proves that the ways have the same predictions, to the last bit."""
    found = {}
    for name, way in ways.items():
        results = way.score(records) if way.batched else [one for value in records for one in way.score([value])]
        # An endpoint does not know the epoch.
        found[name] = [{**json.loads(one.prediction or b"{}"), EPOCH: None} for one in results]
    first, *others = found.values()
    prove("every record has a prediction", all("prediction" in one for one in first))
    prove("the four ways have the same predictions, bit for bit", all(other == first for other in others))


def play(way: Way, records: Sequence[bytes], times: np.ndarray, patience: float) -> Latency:
    """Plays a stream to a way; records arrive by the clock, whether it keeps up or not."""
    done = np.zeros(len(times))
    at, begin = 0, time.perf_counter()
    while at < len(times):
        now = time.perf_counter() - begin
        if now > patience:
            break
        if times[at] > now:
            time.sleep(times[at] - now)
            continue
        end = min(int(np.searchsorted(times, now, side="right")), at + BATCH) if way.batched else at + 1
        way.score([records[place % len(records)] for place in range(at, end)])
        done[at:end] = time.perf_counter() - begin
        at = end
    taken = np.sort(done[:at] - times[:at])
    if at < len(times):
        return Latency(float("inf"), float("inf"), at / len(times))
    return Latency(float(taken[at // 2]), float(taken[int(at * 0.99)]), 1.0)


def backlog(way: Way, records: Sequence[bytes], seconds: float) -> tuple[int, float]:
    """How many records of a backlog are scored in a time, and the time."""
    at, begin = 0, time.perf_counter()
    size = BATCH if way.batched else 1
    while time.perf_counter() - begin < seconds:
        way.score([records[place % len(records)] for place in range(at, at + size)])
        at += size
    return at, time.perf_counter() - begin


def used(server: object) -> float:
    """CPU seconds of this process and of the server."""
    times = server.cpu_times()  # type: ignore[attr-defined]
    return time.process_time() + times.user + times.system


def tables(
    latencies: Mapping[str, Mapping[int, Sequence[Latency]]],
    rates: Mapping[str, Sequence[float]],
    cpu: Mapping[str, Sequence[float]],
) -> list[Rows]:
    """Latencies and throughput of the ways, and what was published in 2018."""
    lines = []
    for name in WAYS:
        cells = [f"{statistics.median(rates[name]):,.0f}", f"{1e6 * statistics.median(cpu[name]):,.0f}"]
        for rate in RATES:
            found = latencies[name][rate]
            middle = (statistics.median(one.p50 for one in found), statistics.median(one.p99 for one in found))
            cells += ["behind" if value == float("inf") else f"{1000 * value:,.1f}" for value in middle]
        lines.append((name, *cells))
    header = ["way", "records/s", "CPU-us"]
    header += [f"{percentile} ms, {rate:,}/s" for rate in RATES for percentile in ("p50", "p99")]
    published = [
        ("model in the Dataflow pipeline", "10,000,000", "25 min", "7.9", f"{10_000_000 / (7.9 * 3600):,.0f}"),
        ("preparation, then a batch prediction job", "10,000,000", "48 min", "-", "-"),
        ("a request per record", "100,000", "did not finish", "-", "-"),
    ]
    title = "Backlog and latency; CPU-us per record, of scorer and server; behind: the way does not keep up"
    then = (
        "Published in 2018: natality, up to 20 workers of Dataflow, batches. The order of the ways compares; "
        "the figures do not: another model, other machines, tables in the place of records"
    )
    return [
        Rows(title, header, lines),
        Rows(then, ("way", "records", "time", "vCPU-h", "records/vCPU-s"), published),
    ]


def ratios(cpu: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """How much less CPU a record costs in micro-batches, and in the process."""
    middle = [statistics.median(cpu[name]) for name in WAYS]
    return {
        "stream.in_process_batched_vs_single": Ratio(middle[0] / middle[1], 20.0, 50.0),
        "stream.http_batched_vs_single": Ratio(middle[2] / middle[3], 20.0, 50.0),
        "stream.batched_in_process_vs_http": Ratio(middle[3] / middle[1], 1.1, 1.5),
        "stream.single_in_process_vs_http": Ratio(middle[2] / middle[0], 1.0, 1.5),
    }


if __name__ == "__main__":
    raise SystemExit(main())
