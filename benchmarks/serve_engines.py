"""Engines of the server: the scoring core's call with TensorFlow and with LiteRT, by the process's CPU clock.

Usage: python benchmarks/serve_engines.py [--quick] [--model MODEL]

The model is that of benchmarks/serve.py, loaded twice on one core, and called with the columns of one request. Its
texts were seen before, as those of most requests, or one per column is new in each call.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import serve
from common import Ratio, Rows, conclude, prove

from headrace.core.saved_model.find import find_source
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.scoring.online.model import OnlineModel

# Rows of a call, and what LiteRT must at least save there: TensorFlow's call in a session has small fixed costs, too.
BATCHES = {1: 1.5, 32: 1.3, 256: 0.8}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 calls each instead of 2,000")
    parser.add_argument("--model", type=Path, help="a Model; by default one is trained")
    options = parser.parse_args()
    calls = 200 if options.quick else 2_000
    if options.model is None:
        shutil.rmtree(serve.WORK, ignore_errors=True)
        serve.WORK.mkdir(parents=True)
        serve.DATA.mkdir(parents=True, exist_ok=True)
        serve.train()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    source = find_source(str(options.model or serve.MODEL))
    slow = OnlineModel(source)
    begun = time.process_time()
    fast = OnlineModel(source, engine="litert")
    loading = time.process_time() - begun
    print(fast.engine, flush=True)
    prove("LiteRT serves it", fast.engine.startswith("LiteRT"))
    lines, ratios, numbers = [], {}, itertools.count()

    def call(model: OnlineModel, columns: Any) -> float:
        return microseconds(lambda: model.predict(columns), calls)

    def call_with_new(model: OnlineModel, columns: Any) -> float:
        return microseconds(lambda: model.predict(with_new_texts(columns, next(numbers))), calls // 10)

    for rows, floor in BATCHES.items():
        instances = [source.warm_up[row % len(source.warm_up)] for row in range(rows)]
        columns = columns_from_instances(instances, slow.interface)
        seen = [call(model, columns) for model in (slow, fast)]
        new = [call_with_new(model, columns) for model in (slow, fast)]
        lines.append((f"{rows}", *(f"{each:,.0f}" for each in (*seen, *new))))
        ratios[f"serve_engines.tensorflow_vs_litert_{rows}"] = Ratio(seen[0] / seen[1], floor, 2.0)
    header = ("rows", "TensorFlow", "LiteRT", "TensorFlow, new texts", "LiteRT, new texts")
    title = f"CPU-us per call; LiteRT adds {loading:.1f} CPU-s to a load"
    return conclude("serve_engines", [Rows(title, header, lines)], ratios, {"calls": calls})


def with_new_texts(columns: Any, number: int) -> dict[str, Any]:
    """The columns with one text in each column of texts that no call had before."""
    changed = dict(columns)
    for name, column in columns.items():
        if column.dtype == object and name != KEY:
            changed[name] = column.copy()
            changed[name][0] = f"new {number}"
    return changed


def microseconds(call: Callable[[], Any], calls: int) -> float:
    """Median CPU time of a call."""
    for _ in range(20):
        call()
    spent = []
    for _ in range(calls):
        begun = time.process_time_ns()
        call()
        spent.append(time.process_time_ns() - begun)
    return float(np.median(spent)) / 1000


if __name__ == "__main__":
    sys.exit(main())
