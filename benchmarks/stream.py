"""Stream scoring in four ways: in process and by HTTP, a record at a time and micro-batched, on the same stream.

Usage: python benchmarks/stream.py [--quick]

The wide and deep model of benchmarks/score.py, and one flight per record, as JSON, on Kafka, by the processes of
benchmarks/kafka_scorers.py: each way is `headrace stream kafka` with other options, and delivers and commits what it
scored. Each gets the same records at the same times, drawn once at random for each rate. A backlog, all of which
has arrived, measures the throughput. The server shares the core of the scorer, which waits for it. Ways are measured in
turn, and their predictions are compared. Ratios are those of CPU seconds per record, of scorer and server together,
which a neighbour on the machine leaves alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping, Sequence

import serve
from common import Ratio, Rows, conclude, prove
from kafka_scorers import RATES, WORK, Latency, Run, Scorer, broker, event_of, ours, schedule
from serve_swaps import registered

COMPARED = 500
# A way that is so far behind after the end of the stream does not keep up.
PATIENCE_S = 5.0
MODELS = ("--model-topic", "{models}")
ONE = ("--batch-records", "1")
# Options, and records of a backlog that takes some seconds.
WAYS: Mapping[str, tuple[Sequence[str], int]] = {
    "in process, record by record": ((*MODELS, *ONE), 2_000),
    "in process, micro-batched": (MODELS, 50_000),
    "by HTTP, record by record": (("--endpoint-url", "{url}", "--endpoint-rows", "1", *ONE), 1_000),
    "by HTTP, micro-batched": (("--endpoint-url", "{url}", "--endpoint-concurrency", "1"), 50_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, streams of 3 s and small backlogs")
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
    event = event_of(registry.path(versions[0]), versions[0], 1)
    server, _ = serve.servers_here([], install=False)
    latencies: dict[str, dict[int, list[Latency]]] = {name: {rate: [] for rate in RATES} for name in WAYS}
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    expected: list[float] = []
    with broker() as address, serve.running(server[0]) as (url, process):
        for number in range(rounds):
            for name, (options, count) in WAYS.items():
                scorer = Scorer(
                    name, [part.replace("{url}", f"{url}{server[0].path}") for part in ours(*options)], False
                )
                way = f"{number}-{list(WAYS).index(name)}"
                for rate in RATES:
                    run = Run(address, scorer, f"s{way}-{rate}")
                    run.announce(event)
                    with run.started():
                        found = run.predictions_of(records[:COMPARED])
                        expected = expected or found
                        prove(f"{name}: the predictions are the same, bit for bit", found == expected)
                        latencies[name][rate].append(run.play(records, schedule(rate, seconds), PATIENCE_S))
                    print(f"{name}, {rate}/s: {latencies[name][rate][-1]}", flush=True)
                drained = Run(address, scorer, f"b{way}")
                drained.announce(event)
                rate_of, per_cpu = drained.backlog(records, count // 5 if arguments.quick else count, [process])
                print(f"{name}, backlog: {rate_of:,.0f} records/s, {1e6 / per_cpu:,.0f} CPU-us", flush=True)
                rates[name].append(rate_of)
                cpu[name].append(1 / per_cpu)
    return conclude(
        "stream", tables(latencies, rates, cpu), ratios(cpu), {"quick": arguments.quick, "seconds": seconds}
    )


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
