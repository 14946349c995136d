"""Two weeks of dynamic training in minutes: a day a span, models that come and go, and a client that always asks.

Usage: python examples/dynamic/run.py [--output FOLDER] [--days N] [--rate REQUESTS_PER_SECOND]

Real flights from New York, 1 to 14 January 2013. The first three days make the first champion. Then, day by day: the
day's flights are asked for at the endpoint, their times in the air arrive as a span, and a run trains, compares and
deploys. Some days are made bad: a column is missing; 3 % of the rows are wrong; all distances are in kilometres; the
training is cut short; the model becomes slow. Afterwards a span is withdrawn. The last line is the path of a page.
"""

# ruff: noqa: T201 - a script reports what it did

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "flight_time"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "serving"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import fetch
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from page import Happening, Played, Run, write_page
from shared import new_folder, tensorflow_log
from traffic import Traffic
from troubles import TROUBLES, Ended, Trouble, in_kilometres

HERE = Path(__file__).resolve().parent
FEATURES = ("distance", "hour", "origin", "dest", "carrier")
FIRST_DAYS = 3
# Short steps: a day takes less than a minute here. Other work on the same cores makes both versions slower.
CANARY = {
    "steps": (20, 50),
    "minimum_requests": 120,
    "minimum_step_s": 2.0,
    "deadline_s": 180.0,
    "latency_tolerance": 3.0,
    "latency_slack": 0.05,
}
# In fewer days, there may be no canary that is promoted.
ALL_DAYS = 14
WITHDRAWN_AFTER, WITHDRAWN = 12, 8


def main() -> int:
    """Plays the days; the exit status is 1 if a day did not end as it should, or a request failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(".out/dynamic"), help="folder (default: .out/dynamic)")
    parser.add_argument("--days", type=int, default=ALL_DAYS, help="number of days (default: 14)")
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second (default: 40)")
    arguments = parser.parse_args()
    if not FIRST_DAYS < arguments.days <= 31:
        parser.error(f"--days must be {FIRST_DAYS + 1} to 31")
    root = arguments.output.absolute()
    stop_earlier(root)
    new_folder(root)
    tensorflow_log(root / "tensorflow.log")
    show = Show(root, read_days(root.parent / "flights.parquet", arguments.days), arguments.rate)
    began = time.time()
    try:
        show.play()
    finally:
        show.stop()
    show.measure()
    failed = sum(outcome.status != 200 for outcome in show.outcomes)
    page = write_page(root / "dynamic.html", show.played(), show.happenings)
    print(f"{len(show.outcomes):,} requests, {failed} failed; {time.time() - began:.0f} s in all")
    print(page)
    return 1 if failed or show.surprises else 0


class Show:
    """The two weeks.

    Args:
        root: the pipeline root.
        days: flights by day of January.
        rate: requests per second.
    """

    def __init__(self, root: Path, days: Mapping[int, pa.Table], rate: float) -> None:
        self.root = root
        self.days = days
        self.happenings: list[Happening] = []
        self.surprises: list[str] = []
        self.runs: list[Run] = []
        self.champions: dict[int, str] = {}
        self.metrics: dict[str, dict[int, float]] = {"static": {}, "dynamic": {}}
        self.outcomes: list[Any] = []
        self._rate = rate
        self._traffic: Traffic | None = None
        self._rows = itertools.cycle([{}])
        self._began = time.time()
        self._began_day: dict[int, float] = {}
        self._deployed: list[str] = []

    def play(self) -> None:
        """Plays all days."""
        from headrace.pipelines.dynamic.arrivals import request
        from headrace.pipelines.dynamic.settings import change

        self.settings = self._initialize("flights.py")
        for day, flights in self.days.items():
            trouble = TROUBLES.get(day, Trouble())
            self._began_day[day] = time.time()
            champion = self._champion()
            if champion:
                self.champions[day] = champion
            self._ask_for(day, flights)
            if day < FIRST_DAYS:
                self._arrive(day, flights)
                continue
            if trouble.text:
                self._happens(day, trouble.text)
            if trouble.problem != "flights.py":
                # Whoever ships it takes any model that is not clearly worse.
                self.settings = self._initialize(trouble.problem, replace_settings=True, stale_after=1)
            if trouble.steps:
                cut = {"training": self._training(trouble.steps), "from_scratch_every": 1}
                self.settings = change(self.settings, lambda _, cut=cut: cut)
            arrived = trouble.change(flights) if trouble.change else flights
            if trouble.change is in_kilometres:
                self._monitor(day, arrived)
            self._arrive(day, arrived)
            self._drive(day, trouble, arrived["air_time"].to_pylist().count(-1))
            if trouble.steps or trouble.problem != "flights.py":
                self.settings = self._initialize("flights.py", replace_settings=True)
            if day == WITHDRAWN_AFTER:
                self._happens(day, f"the span of January {WITHDRAWN} is withdrawn")
                self.settings = change(self.settings, lambda _: {"withdrawn": (span(WITHDRAWN),)})
                request(self.settings, reason="withdrawal", event="", now=self._now(day))
                self._drive(day, Trouble())
                self._check_withdrawn(day)
        if len(self.days) >= ALL_DAYS and "promoted" not in self._deployed:
            self._surprise(day, "no canary was promoted")

    def stop(self) -> None:
        """Stops the client, then the endpoint."""
        from headrace.components.deploy.local import operate

        if self._traffic is not None:
            self._traffic.stop()
            self.outcomes = self._traffic.outcomes
            operate.stop(self.settings.endpoint)

    def measure(self) -> None:
        """The error of each day's flights by the first champion, and by the one of that morning."""
        first = next(iter(self.champions.values()))
        for kind in self.metrics:
            models: dict[str, Any] = {}
            for day, champion in self.champions.items():
                version = first if kind == "static" else champion
                if version not in models:
                    models[version] = load(self._place(version))
                self.metrics[kind][day] = error_of(models[version], self.days[day])

    def played(self) -> Played:
        """What the page shows."""
        from headrace.components.registry.open import open_registry

        versions = open_registry(self.settings.registry).state().versions
        return Played(
            days=list(self.days),
            began=self._began_day,
            outcomes=self.outcomes,
            champions=self.champions,
            metrics=self.metrics,
            runs=self.runs,
            statuses={name: version.status for name, version in versions.items()},
        )

    def _initialize(self, problem: str, *, replace_settings: bool = False, stale_after: int = 3) -> Any:
        from headrace.components.deploy.canary.settings import CanarySettings
        from headrace.components.evaluate.contest.challenge import Challenge
        from headrace.pipelines.dynamic.initialize import initialize

        return initialize(
            str(HERE / problem),
            str(self.root),
            replace_settings=replace_settings,
            last_spans=7,
            canary=CanarySettings(**CANARY),
            challenge=Challenge(tolerance=0.5, stale_after=stale_after),
            training=self._training(None if self.runs else 40),
            log_share=1.0,
            announce=(str(self.root / "events"),),
        )

    def _training(self, steps: int | None) -> Any:
        from headrace.components.train.request import TrainingRequest

        return TrainingRequest(overrides={} if steps is None else {"steps": steps, "epochs": 1})

    def _ask_for(self, day: int, flights: pa.Table) -> None:
        """Requests are about the flights of the day from now on."""
        rows = flights.select(["flight", *FEATURES]).to_pylist()
        self._rows = itertools.cycle([{**row, "flight": str(row["flight"])} for row in rows])

    def _arrive(self, day: int, flights: pa.Table) -> None:
        from headrace.pipelines.dynamic.arrivals import arrive

        file = self.root / "days" / f"{span(day)}.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(flights, file)
        for event in ("first", "again"):
            # Events are delivered more than once.
            arrive(self.settings, data=str(file), span=span(day), reason="file", event=event, now=self._now(day))

    def _drive(self, day: int, trouble: Trouble, bad_rows: int = 0) -> None:
        from headrace.pipelines.dynamic.drive import drive

        before, cpu = self.settings.ledger.state(), children_cpu()
        _, summaries = drive(self.settings, clock=lambda: self._now(day))
        state = self.settings.ledger.state()
        cpu = (children_cpu() - cpu) / max(1, len(summaries))
        for found in summaries:
            seconds = found["finished"] - found["started"]
            self.runs.append(Run(day, seconds, cpu, found["status"], found["outcome"], found["model"] or ""))
        for ending in state.history[len(before.history) :]:
            outcomes = sorted({state.done[version].outcome for version in ending.versions})
            text = f"run {ending.epoch}: {', '.join(outcomes)}. {ending.why}"
            self._happens(day, text, outcome=outcomes[-1])
        ended = Ended.of(state.history[len(before.history) :], state, summaries)
        self._deployed.append(ended.deployed)
        for fault in ended.faults(trouble, bad_rows):
            self._surprise(day, fault)
        failed = [summary for summary in summaries if summary["status"] == "failed"]
        if failed or state.epoch == before.epoch:
            self._surprise(day, f"the run failed: {failed[-1]['error'] if failed else 'none ended'}")
        if self._traffic is None and self._champion():
            self._start_traffic()

    def _start_traffic(self) -> None:
        from headrace.components.deploy.local.endpoint import EndpointFolder

        url = EndpointFolder(self.settings.endpoint).existing().url
        print(f"the endpoint answers at {url}", flush=True)
        self._traffic = Traffic(f"{url}/predict", lambda: next(self._rows), self._rate)

    def _monitor(self, day: int, flights: pa.Table) -> None:
        """Compares the day's flights with those that the champion was trained on; an alarm is an event."""
        from headrace.components.monitor.config import MonitorConfig
        from headrace.components.monitor.monitor import monitor
        from headrace.core.problem.file import load_problem

        data = self.root / f"asked-{span(day)}.parquet"
        pq.write_table(flights.select(["flight", *FEATURES]), data)
        file = load_problem(str(HERE / "flights.py"))
        config = MonitorConfig(
            reference=str(self._place(self._champion())),
            data=str(data),
            output=str(self.root / "monitoring"),
            now=self._now(day).timestamp(),
        )
        alarms = monitor(file, config).alarms
        for alarm in alarms:
            self._happens(day, f"alarm: {alarm.text}", outcome="alarm")
        if not any(alarm.feature == "distance" for alarm in alarms):
            self._surprise(day, "expected an alarm of distance")

    def _check_withdrawn(self, day: int) -> None:
        """The champion was trained without the span that was withdrawn, and so were all versions before it."""
        from headrace.components.lineage.lineage import Lineage
        from headrace.components.registry.open import open_registry

        champion = self._champion()
        seen = Lineage(self.settings.folder, open_registry(self.settings.registry)).seen(champion)
        if seen is None or span(WITHDRAWN) in {*seen.spans, *seen.inherited.values()}:
            self._surprise(day, f"the champion {champion} saw {span(WITHDRAWN)}")
        else:
            self._happens(day, f"the champion {champion} never saw {span(WITHDRAWN)}")

    def _champion(self) -> str:
        from headrace.components.registry.open import open_registry

        return open_registry(self.settings.registry, new=True).state().aliases.get("champion", "")

    def _place(self, version: str) -> Path:
        from headrace.components.registry.open import open_registry

        return Path(self.settings.registry) / open_registry(self.settings.registry, new=True).state().get(version).place

    def _now(self, day: int) -> datetime:
        return datetime(2013, 1, day, 23, 30, tzinfo=UTC)

    def _happens(self, day: int, text: str, outcome: str = "") -> None:
        self.happenings.append(Happening(day, time.time(), text, outcome))
        print(f"January {day}: {text}", flush=True)

    def _surprise(self, day: int, text: str) -> None:
        self.surprises.append(text)
        self._happens(day, f"NOT AS IT SHOULD BE: {text}", outcome="surprise")


def span(day: int) -> str:
    """Name of a day's span."""
    return f"2013-01-{day:02}"


def read_days(file: Path, days: int) -> dict[int, pa.Table]:
    """The flights of the first days of January that were flown, by day; downloaded once."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(fetch.table_of(fetch.unpack(fetch.download())), file)
    flights = pq.read_table(file, columns=["flight", "air_time", *FEATURES, "day_of_year"])
    flights = flights.filter(pc.is_valid(flights["air_time"]))
    return {
        day: flights.filter(pc.equal(flights["day_of_year"], day)).drop_columns(["day_of_year"])
        for day in range(1, days + 1)
    }


def load(model: Path) -> Any:
    """A Model, for its predictions in this process."""
    from headrace.core.saved_model.find import find_source
    from headrace.core.scoring.online.model import OnlineModel

    return OnlineModel(find_source(str(model)))


def error_of(model: Any, flights: pa.Table) -> float:
    """The root mean squared error of a model on flights, in minutes."""
    from headrace.core.saved_model.json.columns import columns_from_instances

    rows = flights.select(list(FEATURES)).to_pylist()
    predicted = model.predict(columns_from_instances(rows, model.interface)).outputs["prediction"]
    actual = flights["air_time"].to_numpy()
    return float(((predicted - actual) ** 2).mean() ** 0.5)


def children_cpu() -> float:
    """CPU time of all processes that this one started and that ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def stop_earlier(root: Path) -> None:
    """Stops the endpoint of an earlier show that was killed."""
    from headrace.components.deploy.local import operate

    endpoint = root / "endpoints" / "flights"
    if (endpoint / "endpoint.json").exists():
        operate.stop(str(endpoint))


if __name__ == "__main__":
    sys.exit(main())
