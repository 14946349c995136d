"""Training against its limit and its peers: input, loop, devices, checkpoints, and a GPU where there is one.

Usage: python benchmarks/train.py [--quick]

The rows and features are those of examples/flight_time, 336,776 flights, and its model with small layers. Every run is
a process of its own, and tells how fast its steps were, without the start of Python, the imports and the tracing of the
graph: of its calls of many steps, the one of median time counts. Runs are interleaved, after a warm-up that is thrown
away. Ratios are of the runs of one round, and the median over the rounds counts: what a neighbour on the machine does
for a while changes both sides. The limit is taken in the same process as what is held against it: call by call where
rows are in memory, before and after a first epoch.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flights_data
import pyarrow as pa
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, Ratio, Rows, conclude, megabytes, prove
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
NO_GPU = "skipped: no GPU here"

LIMIT, TURNS, FIRST, LATER, BRIEF, STREAMED, SINGLE = (
    "batches made before, in memory: the limit",
    "headrace, rows in memory, call by call with it",
    "headrace, first epoch, trained as it is read",
    "headrace, later epochs of it, call by call with the limit",
    "headrace, first epoch of few rows, read first",
    "headrace, rows kept nowhere",
    "records parsed one by one",
)
CACHED, XLA, FIT, FIT_MANY, TWO, TWO_FIT = (
    "headrace, rows in memory",
    "headrace, --xla",
    "Keras fit",
    "Keras fit, as many steps a call as ours",
    "headrace, two logical devices",
    "Keras fit, two logical devices",
)

Said = dict[str, Any]


def main() -> int:
    """Runs the benchmark; the exit status is 1 when a ratio is under its floor or outputs differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    arguments = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return compare(arguments.rounds, quick=arguments.quick)
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 1


def compare(rounds: int, *, quick: bool) -> int:
    """Measures everything, prints the tables, and returns the exit status."""
    # Shards of 64 MB and less are read before they are trained on: the flights once are, repeated they are not.
    data, repeated = examples(), examples(2 if quick else 12)
    steps, calls = 64, 6 if quick else 20
    length = ("--steps", str(steps), "--calls", str(calls), *SMALL)
    turns = ("--steps", "128", "--calls", "4" if quick else "12")
    many = ("--steps-per-execution", str(steps))
    two = ("--devices", "2")
    measured = interleaved(
        {
            TURNS: ("by_turns", data, *turns, *SMALL),
            CACHED: ("cached", data, *length),
            XLA: ("cached", data, *length, "--xla"),
            FIT_MANY: ("fit", data, *length, *many),
            FIT: ("fit", data, *length),
            FIRST: ("first_epoch", repeated, "--later", *turns, *SMALL),
            BRIEF: ("first_epoch", data, *SMALL),
            STREAMED: ("first_epoch", data, "--cache", "none", *SMALL),
            SINGLE: ("single", data, "--steps", "8", "--calls", "4" if quick else "8", *SMALL),
            TWO: ("cached", data, *length, *two),
            # Keras 3.15 fails on several steps a call with several devices.
            TWO_FIT: ("fit", data, *length, *two),
        },
        rounds,
    )
    same_losses(measured, (CACHED, XLA, FIT_MANY, FIT, TWO, TWO_FIT))
    measured[LIMIT] = [said["limit"] for said in measured[TURNS]]
    measured[LATER] = [said["later"] for said in measured[FIRST]]
    same_losses(measured, (LIMIT, TURNS))
    ratios = {
        "train.cached_vs_limit": Ratio(median(measured[TURNS], "of_limit"), 0.95, 1.0),
        "train.later_epochs_vs_limit": Ratio(median(measured[LATER], "of_limit"), 0.95, 1.0),
        "train.first_epoch_vs_limit": Ratio(median(measured[FIRST], "of_limit"), 0.6, 0.8),
        "train.cached_vs_single": Ratio(ratio(measured, CACHED, SINGLE), 12.0, 16.0),
        "train.loop_vs_fit": Ratio(ratio(measured, CACHED, FIT), 1.0, 1.3),
        "train.loop_vs_fit_many_steps": Ratio(ratio(measured, CACHED, FIT_MANY), 0.95, 1.0),
        "train.two_devices_vs_fit": Ratio(ratio(measured, TWO, TWO_FIT), 1.0, 1.3),
    }
    some = measured[CACHED][0]
    tables = [
        rates(
            f"Input: batches of {some['batch']}, {some['parameters']:,} parameters (medians of {rounds})",
            measured,
            (LIMIT, TURNS, FIRST, LATER, BRIEF, STREAMED, SINGLE),
            LIMIT,
        ),
        # Two logical devices are the same cores: what they lose is what the exchange costs.
        rates(
            "The loop: the same batches, the same loss after the last step; two devices are the same cores",
            measured,
            (CACHED, XLA, FIT, FIT_MANY, TWO, TWO_FIT),
            CACHED,
        ),
        checkpoints(data, ratios, quick=quick),
    ]
    gpus = run("devices")["gpus"]
    tables.append(accelerators(data, gpus, rounds, quick=quick) if gpus else no_accelerator())
    details = {"quick": quick, "rounds": rounds, "measured": measured, "gpu": gpus or NO_GPU}
    return conclude("train", tables, ratios, details)


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
    measured = interleaved(runs, rounds)
    lines = []
    for name, said in measured.items():
        cpu = f"{name.partition(',')[0]}, CPU"
        lines.append(
            (
                name,
                f"{said[0]['parameters']:,}",
                str(said[0]["batch"]),
                f"{median(said, 'rows_per_second'):,.0f}",
                f"{median(said, 'input_share'):.0%}",
                f"{ratio(measured, name, cpu):.2f}",
            )
        )
    return Rows(
        f"{len(gpus)} x {gpus[0]}, one of them used",
        ("model", "parameters", "batch", "rows/s", "waiting for input", "times the CPU"),
        lines,
    )


def no_accelerator() -> Rows:
    print(f"GPU: {NO_GPU}", flush=True)
    return Rows("GPU against CPU, mixed precision, XLA, input share", ("", "measured"), [("GPU", NO_GPU)])


def rates(title: str, measured: Mapping[str, list[Said]], names: Sequence[str], base: str) -> Rows:
    lines = [
        (
            name,
            f"{median(measured[name], 'rows_per_second'):,.0f}",
            f"{statistics.median(one['rows'] / one['cpu'] for one in measured[name]):,.0f}",
            f"{median(measured[name], 'input_share'):.0%}" if "input_share" in measured[name][0] else "-",
            megabytes(max(one["peak"] for one in measured[name])) if "peak" in measured[name][0] else "-",
            f"{against(measured, name, base):.2f}",
        )
        for name in names
    ]
    short = {LIMIT: "times the limit", CACHED: "times headrace"}[base]
    return Rows(title, ("way", "rows/s", "rows/CPU-s", "waiting for input", "peak MB", short), lines)


def interleaved(runs: Mapping[str, Sequence[str | Path]], rounds: int) -> dict[str, list[Said]]:
    """Each run in turn: a round that is thrown away, then those that count."""
    measured: dict[str, list[Said]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, command in runs.items():
            said = run(*command)
            print(
                f"{name}, {f'run {number}' if number else 'warm-up'}: {said['rows_per_second']:,.0f} rows/s,"
                f" {said['cpu']:.2f} CPU-s, {said['peak'] / 1e6:.0f} MB",
                flush=True,
            )
            if number:
                measured[name].append(said)
    return measured


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


def ratio(measured: Mapping[str, list[Said]], ours: str, theirs: str) -> float:
    """How many times faster, in the median of the rounds."""
    pairs = zip(measured[ours], measured[theirs], strict=True)
    return statistics.median(mine["rows_per_second"] / other["rows_per_second"] for mine, other in pairs)


def against(measured: Mapping[str, list[Said]], name: str, base: str) -> float:
    """How many times faster than the base, where it can be told from within each process."""
    return median(measured[name], "of_limit") if "of_limit" in measured[name][0] else ratio(measured, name, base)


def median(said: Sequence[Said], name: str) -> float:
    return statistics.median(one[name] for one in said)


def same_losses(measured: Mapping[str, list[Said]], names: Sequence[str]) -> None:
    """Proves that runs on the same batches come to the same loss."""
    expected = measured[names[0]][0]["loss"]
    for name in names:
        for said in measured[name]:
            # float32 sums in another order differ in their last digits, and steps carry that on.
            same = math.isclose(said["loss"], expected, rel_tol=1e-3)
            if not same:
                prove(f"{name} comes to the loss of {names[0]}: {said['loss']} and {expected}", same)
    print(f"proven: {len(names)} ways on the same batches come to the same loss, {expected:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
