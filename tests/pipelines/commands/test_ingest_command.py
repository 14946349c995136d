"""`headrace ingest`: a day each day, a bad one, a withdrawn one, and what training then reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import headrace
from support.day_spans import Days, day, rows_of, write_rows

from headrace.core.artifacts.examples import Manifest


def test_days_by_the_command(tmp_path: Path) -> None:
    days = Days(tmp_path)
    places = ["--problem", days.file.path, "--root", days.root, "--output", days.output, "--last-days", "2"]
    for number in range(3):
        data = write_rows(tmp_path / f"{number}.csv", rows_of(day(number)))
        done = headrace("ingest", *places, "--span", day(number), "--data", data)
        assert done.returncode == 0
    expected = f"window of 2 spans ({day(1)}, {day(2)}), 80 rows in = 80 out + 0 quarantined: {days.output}"
    assert expected in done.stdout.replace("\n", " ")
    bad = write_rows(tmp_path / "bad.csv", rows_of(day(3)), "id,speed,c,y")
    done = headrace("ingest", *places, "--span", day(3), "--data", bad)
    assert done.returncode == 0
    shown = done.stdout.replace("\n", " ")
    assert f"span {day(3)} is quarantined, 40 rows: " in shown
    command = shown.partition("all rows: headrace ")[2].split()[:3]
    assert headrace(*command).stdout.startswith("reason")
    done = headrace("ingest", *places, "--withdrawn", day(2), "--half-life", "1", "--json")
    assert json.loads(done.stdout)["spans"] == [day(0), day(1)]
    assert Manifest.read(days.output).span_weights == {day(0): 0.5, day(1): 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--span", "1"], "--span and --data belong together"),
        (["--data", "rows.csv"], "--span and --data belong together"),
        (["--last-days", "1", "--last-spans", "1"], "the window has two limits"),
        (["--span", "a b", "--data", "rows.csv"], "the span is not valid"),
        (["--span", "1", "--data", "gone.csv"], "no file, folder or match of the pattern exists"),
        (["--withdrawn", "1"], "the withdrawn span is not known"),
    ],
)
def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    days = Days(tmp_path)
    write_rows(tmp_path / "rows.csv", rows_of("1"))
    monkeypatch.chdir(tmp_path)
    done = headrace("ingest", "--problem", days.file.path, "--root", days.root, "--output", days.output, *arguments)
    assert (done.returncode, message in done.stderr.replace("\n", " ")) == (2, True), done.stderr
