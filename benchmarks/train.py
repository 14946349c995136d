"""Training compared with its limit and its peers: input, loop, devices, checkpoints, and a GPU if there is one.

Usage: python benchmarks/train.py [--quick]

The rows and features are those of examples/flight_time, 336,776 flights, and its model with small layers. Ways that are
compared run in one process and on the same cores, call by call: what another process on the machine does for a while
changes both sides. A round is some calls of every way; the first round is not counted. Each ratio is a median within a
round. A table prints the minimum, the median and the maximum over the rounds, and the median must reach the floor. No
rate counts the start of Python, the imports and the tracing of the step. The first epoch counts everything from the
opening of the files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flights_data
import pyarrow as pa
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, SPREAD, Ratio, Rows, conclude, megabytes, profile, prove, spread
from process_usage import REPOSITORY, CommandFailed, measure

WORK = OUT / "benchmarks" / "train"
DATA = OUT / "benchmarks" / "data"
EXAMPLE = REPOSITORY / "examples" / "flight_time"
PROBLEM = EXAMPLE / "flight_time.py"
TRAINING = BENCHMARKS / "peers" / "training.py"
PREPROCESS = BENCHMARKS / "peers" / "preprocess_component.py"
# A checkpoint may take this share of the time between two of them.
CHECKPOINT_SHARE = 0.02
# As small as models of tables often are: the smaller it is, the more of the time its input takes.
SMALL = ("--hidden-units", "32", "16", "--batch-size", "1024")
# 17 million parameters: 200 MB with Adam's two moments.
LARGE = ("--hidden-units", "4096", "4096", "--batch-size", "64")
WIDE = ("--hidden-units", "2048", "1024", "512", "--batch-size", "8192")
PROFILE = "Where the CPU time of a row goes, in its first epoch and, the last three, in each later one"
NO_GPU = "skipped: no GPU here"

# By way of peers/training.py.
INPUTS = {
    "memory": "headrace, rows in memory",
    "later": "headrace, later epochs of rows cached as they were read",
    "first": "headrace, first epoch, trained as it is read",
    "small": "headrace, first epoch of few rows, read first",
    "streamed": "headrace, rows not cached",
    "single": "records parsed one by one",
}
LOOPS = {
    "cached": "headrace, rows in memory",
    "xla": "headrace, --xla",
    "fit": "Keras fit",
    "fit_many": "Keras fit, as many steps per call as ours",
}
# Times the data is repeated, so that an epoch takes seconds.
REPEATED, REPEATED_QUICK = 12, 4

Said = dict[str, Any]


def main() -> int:
    """Runs the benchmark; the exit status is 1 when a ratio is under its floor or outputs differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs, five minutes in all on two quiet cores")
    parser.add_argument("--rounds", type=int, default=0, help="rounds that count (default: 3 with --quick, else 5)")
    arguments = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return compare(arguments.rounds or (3 if arguments.quick else 5), quick=arguments.quick)
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 1


def compare(rounds: int, *, quick: bool) -> int:
    """Measures everything, prints the tables, and returns the exit status."""
    # Shards of 64 MB and less are read before they are trained on: the flights once are, repeated they are not.
    data, repeated = examples(), examples(REPEATED_QUICK if quick else REPEATED)
    length = ("--rounds", str(rounds), *SMALL)
    inputs = timed("inputs", data, "--repeated", repeated, "--steps", "128", "--calls", "4" if quick else "12", *length)
    steps = ("--steps", "64", "--calls", "6" if quick else "20", *length)
    loops = timed("loops", data, *steps)
    two = two_devices(data, rounds, *SMALL, "--steps", "64", "--calls", "3" if quick else "20")
    same_losses("the limit and our loop", inputs["losses"])
    same_losses("our loop and Keras", list(loops["losses"].values()))
    same_losses("our loop and Keras, on two devices,", two["losses"])
    each = inputs["ways"]
    ratios = {
        "train.cached_vs_limit": Ratio(median(each["memory"]), 0.95, 0.97),
        "train.later_epochs_vs_limit": Ratio(median(each["later"]), 0.95, 0.97),
        "train.first_epoch_vs_limit": Ratio(median(each["first"]), 0.6, 0.7),
        "train.cached_vs_single": Ratio(median(each["memory"]) / median(each["single"]), 12.0, 16.0),
        "train.loop_vs_fit": Ratio(1 / median(loops["ways"]["fit"]), 1.0, 1.3),
        "train.loop_vs_fit_many_steps": Ratio(1 / median(loops["ways"]["fit_many"]), 0.95, 1.0),
        "train.two_devices_vs_fit": Ratio(1 / median(two["ways"]["fit"]), 1.0, 1.3),
    }
    tables = [
        rates(f"Input: batches of {inputs['batch']}, {inputs['parameters']:,} parameters", inputs, INPUTS, "the limit"),
        profile(PROFILE, inputs["profile"]),
        rates("The loop: the same batches, the same losses", loops, LOOPS, "headrace"),
        # Two logical devices are the same cores: what they lose is what the exchange costs.
        rates("Two logical devices on the same cores", two, LOOPS, "headrace"),
        checkpoints(data, ratios, quick=quick),
    ]
    gpus = run("devices")["gpus"]
    tables.append(accelerators(data, gpus, rounds, quick=quick) if gpus else no_accelerator())
    details = {"quick": quick, "rounds": rounds, "measured": [inputs, loops, two], "gpu": gpus or NO_GPU}
    return conclude("train", tables, ratios, details)


def two_devices(data: Path, rounds: int, *options: str) -> Said:
    """Our loop and Keras on two logical devices: processes by turns, because two of one process disturb each other."""
    ways: dict[str, list[Said]] = {"cached": [], "fit": []}
    losses: list[float] = []
    for _ in range(rounds):
        for way, found in ways.items():
            said = timed("loops", data, "--devices", "2", "--only", way, "--rounds", "1", *options)
            found.extend(said["ways"][way])
            losses.extend(said["losses"].values())
    for ours, keras in zip(ways["cached"], ways["fit"], strict=True):
        keras["ratio"] = keras["rows_per_second"] / ours["rows_per_second"]
    return {"ways": ways, "losses": losses}


def checkpoints(data: Path, ratios: dict[str, Ratio], *, quick: bool) -> Rows:
    """What a checkpoint costs the steps, and that against the time between two of them."""
    lines, shares = [], []
    for name, options in (
        ("examples/flight_time", ("--steps", "128")),
        ("two hidden layers of 4,096", ("--steps", "8" if quick else "16", *LARGE)),
    ):
        said = run("checkpoint", data, "--calls", "3" if quick else "5", "--folder", WORK, *options)
        prove(f"the checkpoint of {name} reads back as it was written", said["same"])
        # Training goes on while it is written; noise may make what that costs less than nothing.
        cost = max(said["held"], said["extra"])
        shares.append(cost / said["interval"])
        lines.append(
            (
                name,
                f"{said['parameters']:,}",
                megabytes(said["bytes"]),
                f"{said['held'] * 1e3:.1f}",
                f"{cost * 1e3:.1f}",
                f"{shares[-1]:.4%}",
            )
        )
    ratios["train.checkpoint_cost"] = Ratio(CHECKPOINT_SHARE / max(shares), 1.0, 10.0)
    return Rows(
        f"Checkpoints, one every {said['interval'] / 60:g} minutes",
        ("model", "parameters", "MB", "ms held", "ms longer in all", "share of the time"),
        lines,
    )


def accelerators(data: Path, gpus: Sequence[str], rounds: int, *, quick: bool) -> Rows:
    """The GPU against the CPU, in several precisions, for a small model and a large one."""
    length = ("--steps", "64", "--calls", "6" if quick else "12")
    short = ("--steps", "4", "--calls", "3")
    runs: dict[str, tuple[str | Path, ...]] = {}
    for model, options, on_cpu in (("small", (), length), ("large", WIDE, short)):
        runs[f"{model}, CPU"] = ("cached", data, "--cpu", *options, *on_cpu)
        for name, more in (
            ("float32", ()),
            ("float32, XLA", ("--xla",)),
            ("mixed_bfloat16", ("--precision", "mixed_bfloat16")),
            ("mixed_bfloat16, XLA", ("--precision", "mixed_bfloat16", "--xla")),
        ):
            runs[f"{model}, GPU, {name}"] = ("cached", data, *options, *length, *more)
    # A GPU that is hidden is hidden from the whole process: each of these is a process.
    measured: dict[str, list[Said]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, command in runs.items():
            measured[name].append(run(*command))
    lines = []
    for name, some in measured.items():
        base = measured[f"{name.partition(',')[0]}, CPU"]
        rows_per_second = [one["rows_per_second"] for one in some]
        faster = [rate / one["rows_per_second"] for rate, one in zip(rows_per_second, base, strict=True)]
        lines.append(
            (
                name,
                f"{some[0]['parameters']:,}",
                str(some[0]["batch"]),
                f"{statistics.median(rows_per_second):,.0f}",
                f"{statistics.median(one['input_share'] for one in some):.0%}",
                *spread(faster),
            )
        )
    header = ("model", "parameters", "batch", "rows/s", "waiting for input", *(f"times the CPU: {n}" for n in SPREAD))
    return Rows(f"{len(gpus)} x {gpus[0]}, one of them used", header, lines)


def no_accelerator() -> Rows:
    print(f"GPU: {NO_GPU}", flush=True)
    return Rows("GPU against CPU, mixed precision, XLA, input share", ("", "measured"), [("GPU", NO_GPU)])


def rates(title: str, said: Said, names: Mapping[str, str], base: str) -> Rows:
    """A line for each way: its rates, and its ratio to the base over the rounds."""
    lines = []
    if base not in names.values() and base == "the limit":
        rows = [one for some in said["ways"].values() for one in some]
        rate = statistics.median(one["base_rows_per_second"] for one in rows)
        by_cpu = statistics.median(one["base_rows_per_cpu_second"] for one in rows)
        lines.append(("batches made before, in memory: the limit", f"{rate:,.0f}", f"{by_cpu:,.0f}", "-", *3 * ("1",)))
    for way, some in said["ways"].items():
        waiting = statistics.median(one["input_share"] or 0.0 for one in some)
        lines.append(
            (
                names[way],
                f"{statistics.median(one['rows_per_second'] for one in some):,.0f}",
                f"{statistics.median(one['rows_per_cpu_second'] for one in some):,.0f}",
                "-" if some[0]["input_share"] is None else f"{waiting:.0%}",
                *spread([one["ratio"] for one in some]),
            )
        )
    rounds = len(next(iter(said["ways"].values())))
    header = ("way", "rows/s", "rows/CPU-s", "waiting", *(f"times {base}: {name}" for name in SPREAD))
    return Rows(f"{title} ({rounds} rounds)", header, lines)


def timed(*command: str | Path) -> Said:
    """Runs several ways by turns, and prints how long that took."""
    begin = time.monotonic()
    said = run(*command)
    print(f"{', '.join(said['ways'])}: {time.monotonic() - begin:.0f} s", flush=True)
    return said


def run(way: str | Path, data: str | Path = "", *options: str | Path) -> Said:
    """Trains in one way in a process of its own, and returns what its last line says, with its peak memory."""
    log = WORK / "log"
    cpu = "--cpu" in options
    chosen = [str(option) for option in options if option != "--cpu"]
    given = [str(data), str(PROBLEM)] if data else []
    # On a machine with a GPU, TensorFlow takes it unless it is hidden.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"} if cpu else None
    usage = measure([sys.executable, str(TRAINING), str(way), *given, *chosen], log=log, env=environment)
    said: Said = json.loads(log.read_text().strip().splitlines()[-1])
    return {**said, "peak": float(usage.peak_rss_bytes)}


def examples(times: int = 1) -> Path:
    """The Examples of the flights, so many times under new keys, made unless they are there."""
    digest = hashlib.sha256(PROBLEM.read_bytes() + (EXAMPLE / "fetch.py").read_bytes()).hexdigest()[:12]
    folder = DATA / f"flight-time-{times}-{digest}"
    if not (folder / "manifest.json").exists():
        print(f"Preparing the flights in {folder}: once", flush=True)
        flights_data.archive(DATA)
        source = DATA / f"{folder.name}.parquet"
        fetched = [str(EXAMPLE / "fetch.py"), str(source), "--archive", str(DATA / "flights.csv.zip")]
        subprocess.run([sys.executable, *fetched], check=True)
        table = pa.concat_tables([pq.read_table(source)] * times)
        pq.write_table(table.set_column(0, "flight", pa.array(range(table.num_rows), pa.int64())), source)
        subprocess.run([sys.executable, *map(str, (PREPROCESS, "headrace", source, folder, PROBLEM))], check=True)
    return folder


def median(rounds: Sequence[Said]) -> float:
    return statistics.median(one["ratio"] for one in rounds)


def same_losses(which: str, losses: Sequence[float]) -> None:
    """Proves that ways on the same batches come to the same loss."""
    # float32 sums in another order differ in their last digits, and steps carry that on.
    same = all(math.isclose(loss, losses[0], rel_tol=1e-3) for loss in losses)
    prove(f"{which} come to the same loss on the same batches, {losses[0]:.4f}" + ("" if same else f": {losses}"), same)


if __name__ == "__main__":
    sys.exit(main())
