"""Serving in two minutes: an endpoint under load, a canary that is better, one that turns bad, static and hybrid mode.

Usage: python examples/serving/run.py [--output FOLDER] [--rate REQUESTS_PER_SECOND]

Births in North Carolina: two thirds of the rows train the models, the others are sent to the endpoint. Version 1 is
trained for five steps. Version 2 is trained for longer: it is tried on a part of the traffic and promoted. Version 3 is
a copy of version 2 that becomes slow for mothers above 30: these begin to arrive while it is tried, and it is rolled
back. Then a table of predictions answers, alone and with the model behind it. The last line is the path of a page.
"""

# ruff: noqa: T201, S310 - a script reports what it did, and opens URLs of its own servers

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from page import Mode, write_page
from shared import Event, headrace, new_folder, tensorflow_log
from slow_model import slow_copy
from traffic import Traffic

HERE = Path(__file__).resolve().parent
NATALITY = HERE.parent / "natality"
PROBLEM = NATALITY / "natality.py"
TRAINED_ROWS = 1000
SLOW_FROM_AGE = 30
# What a birth weight is off by where the model is bad, in pounds.
LOSS_SCALE = 2.0
# A version that has just started, and others on the same cores, may be slower by more than the default of 1.25.
CANARY = {
    "steps": (20, 50),
    "minimum_step_s": 3.0,
    "deadline_s": 120.0,
    "latency_tolerance": 3.0,
    "minimum_replayed": 100,
    "minimum_labelled": 50,
}

Row = dict[str, Any]


def main() -> int:
    """Runs the example; the exit status is 1 if a canary did not end as it should, or a request failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(".out/serving"), help="folder (default: .out/serving)")
    parser.add_argument("--rate", type=float, default=150.0, help="requests per second (default: 150)")
    arguments = parser.parse_args()
    root = arguments.output.absolute()
    stop_earlier(root)
    new_folder(root)
    tensorflow_log(root / "tensorflow.log")
    began = time.time()
    trained, sent = split_rows(root)
    models = train(root)
    print(f"three versions after {time.time() - began:.0f} s", flush=True)
    events, outcomes, canaries = serve_versions(root, models, sent, arguments.rate)
    modes = tables(root, models[1], trained, sent)
    failed = sum(outcome.status != 200 for outcome in outcomes)
    page = write_page(root / "serving.html", outcomes, events, canaries, modes)
    print(f"{len(outcomes):,} requests, {failed} failed; {time.time() - began:.0f} s in all")
    print(page)
    return 0 if not failed and [outcome for _, outcome, _ in canaries] == ["promoted", "rolled back"] else 1


def split_rows(root: Path) -> tuple[list[Row], list[Row]]:
    """The rows that models are trained on, also as root / "trained.csv", and those that are sent to the endpoint."""
    with (NATALITY / "births.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(1).shuffle(rows)  # noqa: S311 - no secret
    with (root / "trained.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[:TRAINED_ROWS])
    numbers = ("mother_age", "gestation_weeks", "weight_gain_pounds")

    def instance(row: Mapping[str, str]) -> Row:
        values = {name: float(value) if name in numbers else value for name, value in row.items() if value}
        return {"key": values.pop("record_id"), **{k: v for k, v in values.items() if k != "weight_pounds"}}

    return [instance(row) for row in rows[:TRAINED_ROWS]], [instance(row) for row in rows[TRAINED_ROWS:]]


def train(root: Path) -> tuple[Path, Path, Path]:
    """Three versions of the model."""
    headrace("preprocess", "--problem", PROBLEM, "--data", root / "trained.csv", "--output", root / "examples")
    models = root / "v1", root / "v2", root / "v3"
    for model, length in zip(models, (("--steps", 5), ("--epochs", 20)), strict=False):
        headrace("train", "--problem", PROBLEM, "--examples", root / "examples", "--output", model, *length)
    slow_copy(models[1], models[2], "mother_age", SLOW_FROM_AGE)
    return models


def serve_versions(
    root: Path, models: Sequence[Path], sent: Sequence[Row], rate: float
) -> tuple[list[Event], list[Any], list[tuple[str, str, Sequence[str]]]]:
    """Deploys the versions one after the other under load: events, outcomes of requests, and how the canaries ended."""
    from headrace.components.deploy.local import operate
    from headrace.components.deploy.local.publisher import LocalDeployConfig, deploy

    endpoint = str(root / "endpoint")
    young = [row for row in sent if row["mother_age"] < SLOW_FROM_AGE]
    state = {"rows": itertools.cycle(young)}
    result = deploy(LocalDeployConfig(str(models[0]), endpoint, log_share=1.0))
    print(f"version 1 answers at {result.url}", flush=True)
    traffic = Traffic(f"{result.url}/predict", lambda: next(state["rows"]), rate)
    events = [Event(time.time(), "version 1 is live")]
    canaries = []
    try:
        time.sleep(5)
        for number, minimum in ((2, 200), (3, 1500)):

            def report(message: str, number: int = number, **_: Any) -> None:
                if message.startswith(("widening", "promoting", "rolling back")):
                    events.append(Event(time.time(), f"version {number}: {message}"))
                    print(events[-1].text, flush=True)

            events.append(Event(time.time(), f"version {number} is staged"))
            if number == 3:
                # Some seconds after the canary has its first traffic, other mothers are among the rows.
                change_rows_later(state, sent, events, Path(endpoint))
            ended = roll_out(models[number - 1], endpoint, minimum, report)
            events.append(Event(time.time(), f"version {number} is {ended.outcome}"))
            canaries.append((f"version {number}", ended.outcome, ended.reasons))
            print(f"version {number} is {ended.outcome}: {' '.join(ended.reasons)}", flush=True)
            time.sleep(5)
    finally:
        traffic.stop()
        operate.stop(endpoint)
    return events, traffic.outcomes, canaries


def roll_out(model: Path, endpoint: str, minimum: int, report: Any) -> Any:
    """Tries a version as a canary; its logged requests are scored by both versions, and joined with their labels."""
    from headrace.components.deploy.canary.labels import read_labels
    from headrace.components.deploy.canary.settings import CanarySettings
    from headrace.components.deploy.local.publisher import LocalDeployConfig
    from headrace.components.rollout.rollout import RolloutConfig, roll_out
    from headrace.core.problem.file import load_problem

    labels = read_labels(load_problem(str(PROBLEM)).problem, str(NATALITY / "births.csv"), LOSS_SCALE)
    settings = CanarySettings(minimum_requests=minimum, **CANARY)
    deployment = LocalDeployConfig(str(model), endpoint, why="a better model")
    return roll_out(RolloutConfig(deployment, settings), report, losses=labels)


def change_rows_later(state: dict[str, Iterator[Row]], rows: Sequence[Row], events: list[Event], folder: Path) -> None:
    """Sends all rows from five seconds after the third version has traffic."""
    import threading

    def change() -> None:
        while len(json.loads((folder / "endpoint.json").read_text())["traffic"]) < 2:
            time.sleep(0.2)
        time.sleep(5)
        state["rows"] = itertools.cycle(rows)
        events.append(Event(time.time(), f"mothers above {SLOW_FROM_AGE} begin to arrive"))

    threading.Thread(target=change, daemon=True).start()


def tables(root: Path, model: Path, trained: Sequence[Row], sent: Sequence[Row]) -> list[Mode]:
    """A table of predictions of the trained rows, alone and with the model behind it, asked for both kinds of rows."""
    headrace("score", "--model", model, "--data", root / "trained.csv", "--output", root / "predictions")
    headrace("predictions", "table", root / "predictions", "--output", root / "tables")
    rows = [row for pair in zip(trained, sent, strict=False) for row in pair][:600]
    modes = []
    for name, source in (("dynamic", [model]), ("static", []), ("hybrid", [model])):
        table = [] if name == "dynamic" else ["--prediction-table", root / "tables"]
        with server(root, *source, "--mode", name, *table) as url:
            statuses: Counter[int] = Counter()
            answered: Counter[str] = Counter()
            seconds = []
            for row in rows:
                began = time.perf_counter()
                status, by = ask(url, row)
                seconds.append(time.perf_counter() - began)
                statuses[status] += 1
                answered.update([by] if by and status == 200 else [])
            modes.append(Mode(name, len(rows), statuses[200], statuses[404], dict(answered), sorted(seconds)))
            print(modes[-1].text, flush=True)
    return modes


def ask(url: str, row: Row) -> tuple[int, str]:
    """The status of a prediction of one row, and what answered it: table or model."""
    body = json.dumps({"instances": [row]}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers.get("x-answered-by", "").partition("=")[0]
    except urllib.error.HTTPError as error:
        return error.code, ""


@contextmanager
def server(root: Path, *arguments: object) -> Iterator[str]:
    """A server of `headrace serve` with its model or table loaded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "headrace.pipelines.cli", "serve", *map(str, arguments), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with (root / "server.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while not healthy(url):
                if process.poll() is not None:
                    raise SystemExit(f"the server did not start; see {root / 'server.log'}")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except OSError:
        return False


def stop_earlier(root: Path) -> None:
    """Stops the endpoint of an earlier run that was killed."""
    if (root / "endpoint" / "endpoint.json").exists():
        headrace("endpoint", "stop", root / "endpoint")


if __name__ == "__main__":
    sys.exit(main())
