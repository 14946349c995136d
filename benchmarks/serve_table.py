"""Predictions by key: how fast a prediction table is built and looked up, compared with SQLite and LMDB.

Usage: python benchmarks/serve_table.py [--quick]

Random predictions in Parquet, one float32 output under keys such as customer-123. Each way is built from them and read
on one core, in processes of their own: builds include the start of the process. SQLite and LMDB get sorted rows, which
is the fastest way to fill them. Values must be equal bit by bit. LMDB is named as missing where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from common import BENCHMARKS, OUT, Ratio, Rows, conclude, megabytes, prove
from process_usage import Usage, measure

WORK = OUT / "benchmarks" / "serve_table"
WAYS = BENCHMARKS / "peers" / "table_ways.py"
KEYS_PER_CALL = (1, 64, 1024)
# Ten million keys are to be built within so many CPU-seconds.
BUILD_CPU_S = 10.0
SECONDS = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one million keys instead of ten, and one round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    arguments = parser.parse_args()
    rows = 1_000_000 if arguments.quick else 10_000_000
    rounds = 1 if arguments.quick else arguments.rounds
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    run("predictions", WORK / "predictions", rows)
    ways = ["table", "sqlite"]
    if importlib.util.find_spec("lmdb"):
        ways.append("lmdb")
    else:
        print("missing: LMDB (pip install lmdb==3.0.0)", flush=True)
    # CPU-seconds of one build tell enough of the others, whose builds take minutes.
    builds = {way: [build(way) for _ in range(rounds if way == "table" else 1)] for way in ways}
    build_cpu = {way: statistics.median(usage.cpu_seconds for usage in each) for way, each in builds.items()}
    lookups = {(way, size): read(way, rows, size) for size in KEYS_PER_CALL for way in ways}
    prove("the values are equal bit by bit", all(found["equal"] for found, _ in lookups.values()))
    rates = {key: found["lookups"] / found["cpu"] for key, (found, _) in lookups.items()}
    lines = [
        (
            way,
            f"{build_cpu[way]:.1f}",
            megabytes(max(usage.peak_rss_bytes for usage in builds[way])),
            megabytes(size_of(WORK / way)),
            f"{lookups[way, 64][0]['open']:.2f}",
            *(f"{rates[way, size]:,.0f}" for size in KEYS_PER_CALL),
            megabytes(lookups[way, 64][1].peak_rss_bytes),
        )
        for way in ways
    ]
    each = tuple(f"by {size}" for size in KEYS_PER_CALL)
    header = ("way", "build CPU-s", "peak MB", "file MB", "open CPU-s", *each, "reader MB")
    title = f"{rows:,} predictions by key, on one core; lookups per CPU second, by keys per call"
    table = Rows(title, header, lines)
    ratios = {
        "serve_table.build_vs_10_s_per_10_million": Ratio(BUILD_CPU_S * rows / 1e7 / build_cpu["table"], 1.0, 1.5),
        "serve_table.build_vs_sqlite": Ratio(build_cpu["sqlite"] / build_cpu["table"], 2.0, 4.0),
        "serve_table.lookup_of_64_vs_sqlite": Ratio(rates["table", 64] / rates["sqlite", 64], 1.0, 2.0),
    }
    return conclude("serve_table", [table], ratios, {"quick": arguments.quick})


def build(way: str) -> Usage:
    """Builds one way anew."""
    output = WORK / way
    shutil.rmtree(output, ignore_errors=True)
    output.unlink(missing_ok=True)
    usage = run("build", way, WORK / "predictions", output)[1]
    print(f"{way}: {usage.cpu_seconds:.1f} CPU-s to build, {usage.wall_seconds:.1f} s", flush=True)
    return usage


def read(way: str, rows: int, size: int) -> tuple[dict[str, Any], Usage]:
    """Looks up random keys; what the process prints, and what it used."""
    log, usage = run("read", way, WORK / way, rows, size, SECONDS)
    return json.loads(log.splitlines()[-1]), usage


def run(*arguments: object) -> tuple[str, Usage]:
    """A run of table_ways.py: what it prints, and what it used."""
    log = WORK / "log"
    usage = measure([sys.executable, str(WAYS), *map(str, arguments)], log=log)
    return log.read_text().strip(), usage


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
