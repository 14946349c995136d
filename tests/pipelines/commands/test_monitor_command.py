"""`headrace monitor`: what it prints, its exit status, and the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import headrace
from support.html_page import Page
from support.monitored import requests, write, write_problem

ROWS, DAYS = 2000, 4


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    problem = str(write_problem(tmp_path))
    reference = write(tmp_path / "reference.parquet", requests(1, 10_000, 7))
    live = requests(2, ROWS, DAYS)
    weeks = live["weeks"].to_numpy().copy()
    weeks[ROWS // 2 :] += 5
    data = write(tmp_path / "data.parquet", requests(2, ROWS, DAYS, weeks=weeks))
    given = ["--problem", problem, "--reference", reference, "--data", data, "--time", "time"]
    return ["monitor", *given, "--output", str(tmp_path / "monitoring"), "--now", "2026-03-05T00:00:00Z"]


def test_alarms_are_listed_and_are_no_failure(tmp_path: Path, arguments: list[str]) -> None:
    done = headrace(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"2,000 rows in 4 windows: {tmp_path / 'monitoring'}"
    assert lines[-1] == "3 alarms"
    events = [json.loads(line) for line in (tmp_path / "monitoring" / "alarms.jsonl").read_text().splitlines()]
    assert [(event["kind"], event["feature"]) for event in events] == [
        ("skew", "weeks"), ("drift", "weeks"), ("skew", "weeks"),
    ]  # fmt: skip
    assert all(event["id"] in line for event, line in zip(events, lines[1:-1], strict=True))
    assert sorted(path.name for path in (tmp_path / "monitoring").iterdir()) == [
        "alarms.jsonl", "monitoring.html", "monitoring.json",
    ]  # fmt: skip
    page = Page((tmp_path / "monitoring" / "monitoring.html").read_text())
    assert any("Skew of weeks" in words for words in page.words)


def test_alarms_fail_on_request_after_everything_is_written(tmp_path: Path, arguments: list[str]) -> None:
    done = headrace(*arguments, "--fail-on-alarm")
    assert done.returncode == 3
    assert "monitoring raised 3 alarms" in done.stderr
    assert (tmp_path / "monitoring" / "alarms.jsonl").exists()
    write(tmp_path / "data.parquet", requests(2, ROWS, DAYS))
    calm = headrace(*arguments, "--fail-on-alarm")
    assert (calm.returncode, calm.stdout.splitlines()[-1]) == (0, "no alarm")
    assert (tmp_path / "monitoring" / "alarms.jsonl").read_bytes() == b""


def test_json_has_the_counts_of_labels_and_every_alarm(tmp_path: Path, arguments: list[str]) -> None:
    live = requests(2, ROWS, DAYS)
    labels = live.select(["id"]).append_column("weight", live["prediction"]).slice(0, ROWS // 2)
    table = write(tmp_path / "labels.parquet", labels)
    done = headrace(*arguments, "--json", "--labels", table, "--label-wait", "1d", "--window", "12h")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["rows"], found["windows"], found["absent"]) == (ROWS, 2 * DAYS, [])
    # Those of the last day may still get one.
    assert found["labels"]["joined"] == ROWS // 2
    assert found["labels"]["waiting"] == found["labels"]["expired"] == ROWS // 4
    assert found["alarms"][0]["kind"] == "skew"
    again = headrace(*arguments, "--json", "--labels", table, "--label-wait", "1d", "--window", "12h")
    assert json.loads(again.stdout) == found


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--window", "1y"], "the period is not valid"),
        (["--now", "soon"], "the time is not valid"),
        (["--time", "when"], 'the column "when" does not exist'),
        (["--labels", "nowhere.csv"], "nowhere.csv"),
        (["--csv", "delimiter"], "delimiter"),
    ],
)
def test_a_mistake_is_one_paragraph(tmp_path: Path, arguments: list[str], extra: list[str], message: str) -> None:
    done = headrace(*arguments, *extra)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "monitoring").exists()


def test_the_output_is_no_input(tmp_path: Path, arguments: list[str]) -> None:
    arguments[arguments.index("--output") + 1] = str(tmp_path)
    done = headrace(*arguments)
    assert done.returncode == 2
    assert "the output equals or contains" in done.stderr
    assert (tmp_path / "data.parquet").exists()
