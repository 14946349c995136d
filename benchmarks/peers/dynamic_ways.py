"""Work of dynamic training that benchmarks/dynamic.py measures, each way in a process that has read its libraries.

Usage: python dynamic_ways.py ingest|train JSON

The last line is a JSON list with an object for each piece of work, in order: CPU and wall seconds, and what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Does the work."""
    way, given = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps({"ingest": ingest, "train": train}[way](**given)))


def ingest(problem: str, root: str, output: str, last_spans: int, first: list[str], days: list[str]) -> list[Any]:
    """Adds the files `first` together, and then each of `days`, to a window of spans named by their files.

    The window after all of `first` is OUTPUT-0, the next one OUTPUT-1, and so on.
    """
    from headrace.components.ingest.config import IngestConfig
    from headrace.components.ingest.ingest import ingest as work
    from headrace.components.ingest.window import Window
    from headrace.core import storage
    from headrace.core.ledger.inbox import Arrival, data_version_of
    from headrace.core.problem.file import load_problem

    file = load_problem(problem)

    def arrival(number: int, path: str) -> Arrival:
        fingerprint = storage.fingerprint([path])
        span = Path(path).stem
        version = data_version_of(file.problem.schema_digest, span, fingerprint)
        at = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}+00:00"
        return Arrival(version, span, path, fingerprint, "file", "", at)

    def add(paths: list[str], number: int) -> dict[str, Any]:
        arrivals = tuple(arrival(len(first) + number + at, path) for at, path in enumerate(paths))
        config = IngestConfig(arrivals, root, f"{output}-{number}", Window(last_spans))
        result, cost = measured(lambda: work(file, config))
        return {**cost, "spans": len(result.spans), "rows": result.rows_out, "identity": result.identity}

    return [add(first, 0), *(add([path], number) for number, path in enumerate(days, 1))]


def train(problem: str, trainings: list[dict[str, str]]) -> list[Any]:
    """Trains one model after another: each names `examples` and `output`, and perhaps `warm_start` and `target`."""
    from headrace.components.train.request import TrainingRequest
    from headrace.core.problem.file import load_problem
    from headrace.core.tensorflow_import import import_tensorflow

    import_tensorflow()
    from headrace.components.train import trainer

    file = load_problem(problem)
    found = []
    for one in trainings:
        options = {name: one[name] for name in ("warm_start", "target") if name in one}
        config = TrainingRequest.from_json(options).config(
            file, examples=one["examples"], output=one["output"], checkpoints=""
        )
        _, cost = measured(lambda config=config: trainer.train(file, config))
        record = json.loads((Path(one["output"]) / "training.json").read_text())
        found.append({**cost, "history": record["history"]})
    return found


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of some work, and its CPU seconds, of all threads, and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


if __name__ == "__main__":
    main()
