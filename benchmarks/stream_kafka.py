"""Stream scoring on Kafka beside Quix Streams: latency at 200 and 2,000 records/s, backlog, and a model that changes.

Usage: python benchmarks/stream_kafka.py [--quick]

The records of benchmarks/stream.py, by the processes of benchmarks/kafka_scorers.py, and its model with a SavedModel of
1 MB. A backlog is there before the scorer starts, and its rate is per CPU second of the scorer. Both score the same
SavedModel, and their predictions are compared. A model that changes has these files under another version: within a
second of its event it predicts, and no record meanwhile waits for longer than twice the p99 of the stream before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import serve
from common import BENCHMARKS, PeerMissing, Ratio, Rows, conclude, prove
from kafka_scorers import RATES, WORK, Latency, Run, Scorer, broker, event_of, ours, schedule
from serve_swaps import registered

# A backlog, and the records whose predictions are compared.
BACKLOG, COMPARED = 50_000, 500
PROBLEM = BENCHMARKS / "problems" / "flights_stream.py"
# A model that is not used after so many seconds never is.
CHANGE_S = 60


@dataclass(frozen=True)
class Change:
    """A model that changes at 200 records per second.

    Attributes:
        event: from the model event to the first prediction of its version, in seconds.
        slowest: latency of a record meanwhile, in seconds.
        p99: of the stream before, in seconds.
    """

    event: float
    slowest: float
    p99: float


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
    serve.train(PROBLEM)
    size = sum(file.stat().st_size for file in (serve.MODEL / "saved_model").rglob("*") if file.is_file())
    prove("the SavedModel has 1 MB or more", size >= 1_000_000)
    records = [json.dumps(json.loads(line)["instances"][0]).encode() for line in serve.requests_file().open()]
    registry, versions = registered()
    events = [event_of(registry.path(version), version, epoch) for epoch, version in enumerate(versions, 1)]
    scorers, missing = scorers_here(install=not arguments.quick)
    latencies: dict[str, dict[int, list[Latency]]] = {scorer.name: {rate: [] for rate in RATES} for scorer in scorers}
    rates: dict[str, list[float]] = {scorer.name: [] for scorer in scorers}
    changes: list[Change] = []
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
                    for rate in RATES:
                        latency = run.play(records, schedule(rate, seconds))
                        latencies[scorer.name][rate].append(latency)
                        print(f"{scorer.name}, {rate}/s: {latency}", flush=True)
                    if scorer.takes_events:
                        rate = min(RATES)
                        found_change = run.change(records, schedule(rate, CHANGE_S), replace(events[1], epoch=2))
                        changes.append(Change(*found_change, latencies[scorer.name][rate][-1].p99))
                        print(f"{scorer.name}: {changes[-1]}", flush=True)
                drained = Run(address, scorer, f"b{number}-{scorers.index(scorer)}")
                drained.announce(events[0])
                rates[scorer.name].append(drained.backlog(records, BACKLOG)[1])
                print(f"{scorer.name}, backlog: {rates[scorer.name][-1]:,.0f} records/CPU-s", flush=True)
    found_tables = tables(latencies, rates, changes, size)
    if missing:
        found_tables.append(Rows("Peers that are missing here", ("peer", "why"), missing))
    return conclude("stream_kafka", found_tables, ratios(latencies, rates, changes), {"missing": dict(missing)})


def scorers_here(*, install: bool) -> tuple[list[Scorer], list[tuple[str, str]]]:
    """Ours, and the peer if it can be installed; else why not."""
    found = [Scorer("headrace", ours("--model-topic", "{models}"), True)]
    try:
        python = serve.environment("quix", install=install)
    except (PeerMissing, subprocess.CalledProcessError) as error:
        return found, [("Quix Streams", str(error).strip().splitlines()[-1][:200])]
    script = str(serve.PEERS / "stream_quix.py")
    theirs = [str(python), script, "{broker}", "{group}", "{records}", "{predictions}", str(serve.MODEL)]
    return [*found, Scorer("Quix Streams", theirs, False)], []


def tables(
    latencies: Mapping[str, Mapping[int, Sequence[Latency]]],
    rates: Mapping[str, Sequence[float]],
    changes: Sequence[Change],
    size: int,
) -> list[Rows]:
    """What people read; `size` is that of the SavedModel, in bytes."""
    lines = []
    for name, found in latencies.items():
        cells = [f"{statistics.median(rates[name]):,.0f}"]
        for rate in RATES:
            both = (statistics.median(x.p50 for x in found[rate]), statistics.median(x.p99 for x in found[rate]))
            cells += ["behind" if value == float("inf") else f"{1000 * value:,.1f}" for value in both]
        lines.append((name, *cells))
    header = ["scorer", "backlog, records/CPU-s"]
    header += [f"{percentile} ms, {rate:,}/s" for rate in RATES for percentile in ("p50", "p99")]

    def middle(name: str) -> float:
        return statistics.median(getattr(change, name) for change in changes)

    event = Rows(
        f"From the event of a SavedModel of {size / 1e6:.2f} MB to its first prediction, at {min(RATES)}/s",
        ("scorer", "s", "slowest record meanwhile, ms", "p99 before, ms"),
        [("headrace", f"{middle('event'):.2f}", f"{1000 * middle('slowest'):.1f}", f"{1000 * middle('p99'):.1f}")],
    )
    return [Rows("Stream scoring on Kafka, one core for the scorer", header, lines), event]


def ratios(
    latencies: Mapping[str, Mapping[int, Sequence[Latency]]],
    rates: Mapping[str, Sequence[float]],
    changes: Sequence[Change],
) -> dict[str, Ratio]:
    """How much more we score, and how late; a second for a model event, and twice the p99 while it loads."""
    peer = "Quix Streams"
    there = peer in rates

    def middle(values: Sequence[float]) -> float:
        return statistics.median(values)

    more = middle(rates["headrace"]) / middle(rates[peer]) if there else None
    fast = max(RATES)
    late = None
    if there:
        late = middle([x.p99 for x in latencies[peer][fast]]) / middle([x.p99 for x in latencies["headrace"][fast]])
    return {
        "stream_kafka.backlog_vs_quix": Ratio(more, 3.0, 3.0),
        "stream_kafka.p99_vs_quix": Ratio(late, 1.0, 1.0),
        "stream_kafka.event_second": Ratio(1.0 / middle([change.event for change in changes]), 1.0, 1.0),
        "stream_kafka.twice_p99_vs_slowest": Ratio(middle([2 * each.p99 / each.slowest for each in changes]), 1.0, 1.0),
    }


if __name__ == "__main__":
    raise SystemExit(main())
