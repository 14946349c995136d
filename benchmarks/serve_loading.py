"""Loading beside: latency of batches while new versions are loaded, by the process's CPU clock.

Usage: python benchmarks/serve_loading.py [--quick]

The model of benchmarks/serve.py, on one core: a thread hands batches of 64 rows to a worker, as the server's event loop
does, and another thread switches versions, one after the other. A latency is the CPU time of the process meanwhile:
that of all its threads, and none of another process. On a core of its own it is the time on the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import serve
from common import Ratio, Rows, conclude

from headrace.core.saved_model.find import find_source, verify_source
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.scoring.online.beside import beside, freeze_imports
from headrace.core.scoring.online.current import CurrentModel
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.model import OnlineModel

ROWS = 64


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 switches instead of 10")
    switches = 2 if parser.parse_args().quick else 10
    shutil.rmtree(serve.WORK, ignore_errors=True)
    serve.WORK.mkdir(parents=True)
    serve.DATA.mkdir(parents=True, exist_ok=True)
    serve.train()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    freeze_imports()
    model = str(serve.MODEL)
    current = CurrentModel(OnlineModel(find_source(model)))
    warm_up = current.model.source.warm_up
    rows = [warm_up[number % len(warm_up)] for number in range(ROWS)]
    pool = ThreadPoolExecutor(1)

    def answer() -> None:
        used = current.model
        pool.submit(lambda: used.predict(columns_from_instances(rows, used.interface))).result()

    def load() -> OnlineModel:
        verify_source(model)
        return OnlineModel(find_source(model))

    def switch(times: int, *, gently: bool) -> list[float]:
        """Latencies of batches while versions are switched."""
        done = threading.Event()

        def work() -> None:
            for _ in range(times):
                with beside(lambda: True) if gently else contextlib.nullcontext():
                    current.switch(load, check_golden)
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        found = latencies(answer, done.is_set)
        thread.join()
        return found

    switch(2, gently=False)
    quiet = latencies(answer, lambda: False, 3000)
    at_once = switch(switches, gently=False)
    gently = switch(switches, gently=True)
    quiet += latencies(answer, lambda: False, 3000)
    pool.shutdown()
    measured = {"without loading": quiet, "loaded at once": at_once, "loaded beside": gently}
    lines = [
        (name, f"{len(of):,}", *(f"{1000 * quantile(of, part):.2f}" for part in (0.5, 0.99, 0.999, 1.0)))
        for name, of in measured.items()
    ]
    header = ("", "batches", "p50 ms", "p99 ms", "p99.9 ms", "maximum ms")
    ratios = {
        "serve_loading.p999_without_vs_beside": Ratio(quantile(quiet, 0.999) / quantile(gently, 0.999), 0.4, 1 / 1.5),
        "serve_loading.p99_without_vs_beside": Ratio(quantile(quiet, 0.99) / quantile(gently, 0.99), 0.5, 1 / 1.5),
    }
    title = f"Batches of {ROWS} rows while versions are loaded, by the CPU clock"
    return conclude("serve_loading", [Rows(title, header, lines)], ratios, {"switches": switches})


def latencies(answer: Callable[[], None], ended: Callable[[], bool], most: int = 1 << 62) -> list[float]:
    """CPU seconds of the process per batch, until the end or up to a number of batches."""
    found: list[float] = []
    while not ended() and len(found) < most:
        begun = time.process_time()
        answer()
        found.append(time.process_time() - begun)
    return found


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


if __name__ == "__main__":
    sys.exit(main())
