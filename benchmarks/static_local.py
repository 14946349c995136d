"""A whole static run on one machine, beside TFX 1.16 doing the same work: time, CPU, memory, the model's error.

Both sides get 15 thousand flights as one CSV file and an empty folder, and end with a model behind a gate: rows
checked and measured, split 8:1:1 by the key, 1,000 steps of batch 40 of a wide and deep model of equal size and
features, evaluated on its test split, published. Ours also starts a server and checks its answers over HTTP; it is
part of what is timed, and counts as memory while the run lasts. TFX runs on its own local runner with Beam in
memory, after its own Chicago taxi example, in a virtual environment of its own (made once, under .out/peers).

Runs are interleaved, after a warm-up of each that is thrown away; medians count. Memory is the peak over time of the
process tree's summed proportional set sizes, in which a page that several processes share counts once: our steps are
forked from a process that has imported TensorFlow, and TFX runs as one process. Other processes that map the same
libraries would make it smaller, so nothing else may run. The table has the sum of resident set sizes too. The error
that is compared is the one on rows that neither side saw.

`--tuned` gives TFX what its examples do not do: it imports the user's functions instead of building and installing a
wheel of them for each component, and keeps AutoGraph from converting Keras 2, which TensorFlow 2.16 no longer exempts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import flights_data
import process_usage

STEPS = 1000
# The gate of both sides: predicting the mean is off by 94 minutes.
AT_MOST = 20.0
PROBLEM = common.BENCHMARKS / "problems" / "flights.py"
PEERS = common.BENCHMARKS / "peers"
REQUIREMENTS = PEERS / "tfx-1.16-requirements.txt"
# A run of five minutes, less what comes before and after the measured rounds.
QUICK_BUDGET_S = 240.0
OURS, THEIRS = "headrace", "TFX 1.16"


@dataclass
class Side:
    """One of the two sides.

    Attributes:
        run: one run in the empty folder given.
        steps: wall time by step of the run in a folder, in order, with the seconds of them spent importing (NaN where
            that is not known by step).
        score: what the runs in some folders came to, one dictionary each; see peers/*.py.
        roots: the folders of the runs that count.
    """

    run: Callable[[Path], process_usage.Usage]
    steps: Callable[[Path], dict[str, tuple[float, float, float]]]
    score: Callable[[list[Path]], list[dict[str, Any]]]
    roots: list[Path] = field(default_factory=list)


def main() -> int:
    """Runs the benchmark; the exit status is 1 when a ratio is under its floor, 2 when a side failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="as many rounds as end within five minutes, one at least")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument("--only", choices=("headrace", "tfx"), help="one side alone: nothing is compared")
    parser.add_argument("--tuned", action="store_true", help="give TFX what its own examples do not do; see above")
    parser.add_argument("--peer", type=Path, default=common.OUT / "peers" / "tfx-1.16", help="TFX's environment")
    parser.add_argument("--cache", type=Path, default=common.OUT / "data", help="where the flights are kept")
    parser.add_argument("--keep", type=Path, help="keep the runs' folders and logs here")
    arguments = parser.parse_args()
    flights = flights_data.prepare(arguments.cache.resolve())
    missing = None
    with tempfile.TemporaryDirectory(prefix="headrace-static-local-", ignore_cleanup_errors=True) as temporary:
        work = (arguments.keep or Path(temporary)).resolve()
        sides: dict[str, Side] = {}
        if arguments.only != "tfx":
            sides[OURS] = our_side(flights, work)
        if arguments.only != "headrace":
            try:
                python = common.peer_environment(arguments.peer.absolute(), REQUIREMENTS, "3.11")
                sides[THEIRS] = tfx_side(flights, work, python, tuned=arguments.tuned)
            except common.PeerMissing as error:
                missing = f"{THEIRS} is missing: {error}"
                print(missing, file=sys.stderr, flush=True)
        if not sides:
            return 2
        try:
            return compare(sides, work, arguments.rounds, quick=arguments.quick, tuned=arguments.tuned, missing=missing)
        except process_usage.CommandFailed as error:
            print(error, file=sys.stderr)
            return 2


def compare(
    sides: Mapping[str, Side], work: Path, rounds: int, *, quick: bool, tuned: bool, missing: str | None
) -> int:
    """Measures the sides, prints the tables, and returns the exit status."""

    def runner(name: str, side: Side) -> Callable[[int], process_usage.Usage]:
        def run(number: int) -> process_usage.Usage:
            root = work / f"{name.split()[0].lower()}-{number}"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            if number:
                side.roots.append(root)
            return side.run(root)

        return run

    usages = common.interleave(
        {name: runner(name, side) for name, side in sides.items()},
        rounds=rounds,
        budget_s=QUICK_BUDGET_S if quick else None,
    )
    medians = {name: process_usage.median_of(measured) for name, measured in usages.items()}
    scores = {name: _medians(side.score(side.roots)) for name, side in sides.items()}
    count = min(len(measured) for measured in usages.values())
    # Steps are of one run, the one in the middle: medians of each step would not sum to any run's time.
    walls: dict[str, float] = {}
    steps: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, side in sides.items():
        in_order = sorted(zip((usage.wall_seconds for usage in usages[name]), side.roots, strict=True))
        walls[name], middle = in_order[(len(in_order) - 1) // 2]
        steps[name] = side.steps(middle)
    tables = [_comparison(medians, scores, count, missing, tuned=tuned), *_steps_tables(walls, steps)]
    ratios = _ratios(medians, scores) if len(medians) == 2 or missing else {}
    details = {
        "rounds": count,
        "wall_seconds": walls,
        "steps": {name: {step: cells[0] for step, cells in taken.items()} for name, taken in steps.items()},
        "missing": missing,
    }
    return common.conclude("static_local", tables, ratios, details)


def _ratios(
    medians: Mapping[str, process_usage.Usage], scores: Mapping[str, Mapping[str, float]]
) -> dict[str, common.Ratio]:
    wall = memory = error = None
    if THEIRS in medians:
        ours, theirs = medians[OURS], medians[THEIRS]
        wall = theirs.wall_seconds / ours.wall_seconds
        memory = theirs.peak_pss_bytes / ours.peak_pss_bytes
        error = scores[THEIRS]["held_out_rmse"] / scores[OURS]["held_out_rmse"]
    return {
        "static_local.wall_vs_tfx": common.Ratio(wall, 2.0, 9.0),
        "static_local.memory_vs_tfx": common.Ratio(memory, 1.333, 2.0),
        # No worse: TFX's error moves by some 2 % from run to run, with the order of its batches.
        "static_local.rmse_vs_tfx": common.Ratio(error, 0.98, 1.0),
    }


def our_side(flights: flights_data.Flights, work: Path) -> Side:
    """`headrace run static`."""
    command = Path(sys.executable).with_name("headrace")

    def run(root: Path) -> process_usage.Usage:
        static = [str(command), "run", "static", "--problem", str(PROBLEM), "--data", str(flights.train)]
        try:
            return process_usage.measure([*static, "--root", str(root)], log=work / f"{root.name}.log")
        finally:
            stop = [str(command), "endpoint", "stop", str(root / "endpoints" / "flights")]
            stopped = subprocess.run(stop, capture_output=True, text=True, check=False)
            if stopped.returncode != 0:
                print(f"{root}: the endpoint was not stopped: {stopped.stderr.strip()}", file=sys.stderr)

    def steps(root: Path) -> dict[str, tuple[float, float, float]]:
        records = [json.loads(path.read_text()) for path in (root / "records").glob("*.json")]
        return {
            record["step"]: (record["seconds"], record["import_seconds"], record["peak_memory_bytes"])
            for record in sorted(records, key=lambda record: float(record["started"]))
        }

    def score(roots: list[Path]) -> list[dict[str, Any]]:
        return _score([sys.executable, str(PEERS / "headrace_score.py")], flights, roots, work / "headrace_score")

    return Side(run, steps, score)


def tfx_side(flights: flights_data.Flights, work: Path, python: Path, *, tuned: bool) -> Side:
    """TFX's local runner, in its own environment."""
    script = str(PEERS / "tfx_static.py")
    # Ours is not importable there, and need not be.
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if tuned:
        env["PYTHONPATH"] = str(PEERS)

    def run(root: Path) -> process_usage.Usage:
        command = [str(python), script, "run", "--data", str(flights.train.parent), "--root", str(root)]
        options = ["--steps", str(STEPS), "--at-most", str(AT_MOST), *(["--tuned"] if tuned else [])]
        return process_usage.measure([*command, *options], log=work / f"{root.name}.log", env=env)

    def steps(root: Path) -> dict[str, tuple[float, float, float]]:
        query = (
            "SELECT Type.name, create_time_since_epoch, last_update_time_since_epoch FROM Execution"
            " JOIN Type ON Type.id = Execution.type_id ORDER BY create_time_since_epoch"
        )
        imported = json.loads((root / "times.json").read_text())["import_seconds"]
        with sqlite3.connect(root / "metadata.sqlite") as metadata:
            executions = metadata.execute(query).fetchall()
        return {"import": (imported, imported, math.nan)} | {
            name.rpartition(".")[2]: ((end - begin) / 1000, math.nan, math.nan) for name, begin, end in executions
        }

    def score(roots: list[Path]) -> list[dict[str, Any]]:
        return _score([str(python), script, "score"], flights, roots, work / "tfx_score")

    return Side(run, steps, score)


def _score(command: list[str], flights: flights_data.Flights, roots: list[Path], output: Path) -> list[dict[str, Any]]:
    results = output.with_suffix(".json")
    options = ["--held-out", str(flights.held_out), "--output", str(results)]
    process_usage.measure([*command, *options, *map(str, roots)], log=output.with_suffix(".log"))
    scores: list[dict[str, Any]] = json.loads(results.read_text())
    return scores


def _medians(scores: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(score[name] for score in scores) for name in scores[0]}


def _comparison(
    medians: Mapping[str, process_usage.Usage],
    scores: Mapping[str, Mapping[str, float]],
    rounds: int,
    missing: str | None,
    *,
    tuned: bool,
) -> common.Rows:
    with_tuned = ", TFX tuned" if tuned else ""
    lines = [
        [
            name,
            f"{usage.wall_seconds:.1f}",
            f"{usage.cpu_seconds:.1f}",
            common.megabytes(usage.peak_rss_bytes),
            common.megabytes(usage.peak_pss_bytes),
            common.megabytes(usage.largest_process_bytes),
            f"{scores[name]['own_rmse']:.2f}",
            f"{scores[name]['held_out_rmse']:.2f}",
            f"{scores[name]['parameters']:,.0f}",
        ]
        for name, usage in medians.items()
    ]
    if OURS in medians and THEIRS in medians:
        ours, theirs = medians[OURS], medians[THEIRS]
        quotients = [
            theirs.wall_seconds / ours.wall_seconds,
            theirs.cpu_seconds / ours.cpu_seconds,
            theirs.peak_rss_bytes / ours.peak_rss_bytes,
            theirs.peak_pss_bytes / ours.peak_pss_bytes,
            theirs.largest_process_bytes / ours.largest_process_bytes,
            *(scores[THEIRS][name] / scores[OURS][name] for name in ("own_rmse", "held_out_rmse")),
        ]
        lines.append(["TFX / headrace", *(f"{quotient:.2f}x" for quotient in quotients), ""])
    if missing:
        lines.append([f"{THEIRS}: missing", *["-"] * 8])
    return common.Rows(
        f"A whole static run on 15,000 flights, {STEPS:,} steps of batch 40 (medians of {rounds}{with_tuned})",
        [
            "",
            "wall s",
            "CPU s",
            "RSS sum MB",
            "PSS sum MB",
            "largest process MB",
            "RMSE, own test split",
            "RMSE, held out",
            "parameters",
        ],
        lines,
    )


def _steps_tables(
    walls: Mapping[str, float], steps: Mapping[str, Mapping[str, tuple[float, float, float]]]
) -> list[common.Rows]:
    tables = []
    for name, taken in steps.items():
        lines = [
            [step, f"{seconds:.1f}", *("-" if math.isnan(imports) else f"{imports:.1f}",), common.megabytes(peak)]
            for step, (seconds, imports, peak) in taken.items()
        ]
        between = walls[name] - sum(cells[0] for cells in taken.values())
        # The engine's part is here, and what of the imports in fork servers the steps wait for.
        lines.append(["outside the steps", f"{between:.1f}", "-", "-"])
        tables.append(
            common.Rows(
                f"{name}, by step (the run of median time)", ["step", "seconds", "of them importing", "peak MB"], lines
            )
        )
    return tables


if __name__ == "__main__":
    sys.exit(main())
