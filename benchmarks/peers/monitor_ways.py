"""Drift of the columns of one table from those of another, by headrace or by Evidently.

Usage: monitor_ways.py headrace|windows|evidently REFERENCE.parquet CURRENT.parquet PROBLEM.py OUTPUT THRESHOLD
Runs on one core. Prints CPU seconds without imports, the columns that have drifted, and the distance of each column, as
JSON: the root of the Jensen-Shannon divergence in nats, which Evidently gives, with its sampling error.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

NUMBERS = ["month", "day", "hour", "dep_delay", "arr_delay", "air_time", "distance", "speed"]
TEXTS = ["carrier", "origin", "dest", "tailnum"]


def headrace(reference, current, problem, output, _, windows=False):
    from headrace.components.monitor.config import MonitorConfig
    from headrace.components.monitor.monitor import identified, monitor
    from headrace.core.problem.file import load_problem

    file = load_problem(problem)
    config = MonitorConfig(reference, current, output, now=2e9, time="time" if windows else "")
    yield
    # As the command does: the fingerprint of the rows is part of the time.
    config, opened = identified(file, config)
    result = monitor(file, config, reference=opened)
    yield sorted({alarm.feature for alarm in result.alarms if alarm.kind == "skew"})
    first = json.loads(Path(output, "monitoring.json").read_text())["windows"][0]["columns"]
    yield {name: math.sqrt(first[name]["skew"]["measured"] * math.log(2)) for name in [*NUMBERS, *TEXTS]}


def windows(*arguments):
    yield from headrace(*arguments, windows=True)


def evidently(reference, current, _problem, _output, threshold):
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    # It compares the root of the divergence, in nats.
    limit = math.sqrt(float(threshold) * math.log(2))
    columns = [*NUMBERS, *TEXTS]
    yield
    definition = DataDefinition(numerical_columns=NUMBERS, categorical_columns=TEXTS)
    before, now = (
        Dataset.from_pandas(pd.read_parquet(path, columns=columns), data_definition=definition)
        for path in (reference, current)
    )
    preset = DataDriftPreset(columns=columns, method="jensenshannon", threshold=limit)
    found = Report([preset]).run(now, before).dict()
    by_column = {metric["config"].get("column"): metric["value"] for metric in found["metrics"]}
    distances = {column: float(by_column[column]) for column in columns}
    yield sorted(column for column, distance in distances.items() if distance >= limit)
    yield distances


def main():
    way, *arguments = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    run = {"headrace": headrace, "windows": windows, "evidently": evidently}[way](*arguments)
    next(run)
    begin = time.process_time()
    drifted = next(run)
    cpu = time.process_time() - begin
    print(json.dumps({"cpu": cpu, "drifted": drifted, "distances": next(run)}))


if __name__ == "__main__":
    main()
