"""`headrace watch` from its arguments to its end by SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import headrace
from support.triggered import CountedRuns, settings_below

from headrace.pipelines.dynamic.settings import DynamicSettings


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> CountedRuns:
    found = CountedRuns()
    monkeypatch.setattr("headrace.pipelines.dynamic.runs.runs_of", lambda _: found)
    return found


@pytest.fixture
def settings(tmp_path: Path) -> DynamicSettings:
    return settings_below(tmp_path / "root")


def write_span(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "a.csv").write_text(f"a\n{name}\n")
    (folder / name / "_SUCCESS").write_text("")


def test_a_watch_announces_what_comes_and_ends_by_sigterm(
    tmp_path: Path, settings: DynamicSettings, runs: CountedRuns
) -> None:
    folder = tmp_path / "in"
    write_span(folder, "2026-11-20")

    def act() -> None:
        deadline = time.monotonic() + 600
        while not runs.started and time.monotonic() < deadline:
            time.sleep(0.05)
        write_span(folder, "2026-11-21")
        while len(settings.ledger.inbox.versions()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    actor = threading.Thread(target=act)
    actor.start()
    done = headrace("watch", folder, "--settings", settings.root, "--closed-by", "marker", "--poll", "0.2s")
    actor.join()
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    assert said[0] == f"watching {folder}; spans close by marker=_SUCCESS"
    assert [line.split(" as ")[0] for line in said if " as " in line] == [
        "span 2026-11-20 arrived",
        "span 2026-11-21 arrived",
    ]
    assert said[-1] == "ended"
    assert [each.span for each in next(iter(runs.started.values()))] == ["2026-11-20"]


def test_one_look_has_an_exit_status(tmp_path: Path, settings: DynamicSettings, runs: CountedRuns) -> None:
    folder = tmp_path / "in"
    command = ["watch", str(folder), "--settings", settings.root, "--closed-by", "marker", "--once"]
    missing = headrace(*command)
    assert (missing.returncode, "the folder does not exist" in missing.stderr) == (2, True)
    write_span(folder, "2026-11-20")
    assert headrace(*command).returncode == 0
    assert len(runs.started) == 1
    (folder / "2026-11-21").mkdir()
    (folder / "2026-11-21/_SUCCESS").write_text("")
    bad = headrace(*command)
    assert (bad.returncode, "the span has a marker and no data file" in bad.stdout) == (2, True)
    runs.silent = True
    assert headrace(*command).returncode == 75


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--closed-by", "quiet=5m", "--once"], "one look cannot know for how long a span has been quiet"),
        (["--closed-by", "first-file"], "the closing of spans is not valid"),
        (["--closed-by", "object"], "a file on a disk is there before it is whole"),
        (["--closed-by", "marker", "--poll", "0s"], "the interval of listings is wrong"),
        ([], "Missing option '--closed-by'"),
    ],
)
def test_options_that_are_wrong_are_refused(
    tmp_path: Path, settings: DynamicSettings, more: list[str], match: str
) -> None:
    done = headrace("watch", tmp_path, "--settings", settings.root, *more)
    assert (done.returncode, match in done.stderr.replace("\n", " ")) == (2, True), done.stderr
