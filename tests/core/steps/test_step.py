"""Steps emit events, keep records, and end with the right exit status."""

import itertools
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.steps import step as steps


def events(captured: str) -> list[dict[str, Any]]:
    return [event for line in captured.splitlines() if (event := steps.parse_event(line)) is not None]


def test_a_step_that_succeeds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with steps.running("train", root=str(tmp_path)) as step:
        step.identity = "abc"
        step.progress("half", done=1, total=2)
        step.finish(outputs={"model": "/m"}, result={"epochs": 3})
    told = events(capfd.readouterr().out)
    assert [event["event"] for event in told] == ["started", "progress", "finished"]
    assert told[1]["done"] == 1
    record = steps.read_record(str(tmp_path), "train", "abc")
    assert record == told[2]["record"]
    assert record["status"] == "succeeded"
    assert record["result"] == {"epochs": 3}
    assert record["peak_memory_bytes"] > 1_000_000


def test_a_step_that_refuses_its_input(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, steps.running("train", root=str(tmp_path)) as step:
        step.identity = "abc"
        raise DataError("no rows", where="x.csv")
    assert ended.value.code == 2
    captured = capfd.readouterr()
    assert events(captured.out)[-1]["message"] == "x.csv: no rows."
    assert json.loads(captured.out.splitlines()[-1])["severity"] == "ERROR"
    assert "DataError" in captured.err
    record = steps.read_record(str(tmp_path), "train", "abc")
    assert record is not None
    assert record["error"]["kind"] == "DataError"


def test_a_step_that_fails_unexpectedly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, steps.running("train", root=str(tmp_path)):
        raise ZeroDivisionError("oh")
    assert ended.value.code == 75
    assert "ZeroDivisionError: oh" in events(capfd.readouterr().out)[-1]["message"]
    assert not (tmp_path / "records").exists()


def test_a_process_that_does_not_write_keeps_no_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with steps.running("train", root=str(tmp_path)) as step:
        step.identity, step.writes = "abc", False
    with pytest.raises(SystemExit) as ended, steps.running("train", root=str(tmp_path)) as step:
        step.identity, step.writes = "abc", False
        raise DataError("no rows", where="x.csv")
    assert ended.value.code == 2
    assert [event["event"] for event in events(capfd.readouterr().out)][-1] == "failed"
    assert not (tmp_path / "records").exists()


def test_progress_is_paced_but_its_end_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with steps.running("train", root=str(tmp_path)) as step:
        step.identity = "abc"
        # A report each 16th of a second, and an event each fifth of one.
        clock = (1000 + number / 16 for number in itertools.count())
        monkeypatch.setattr(steps, "time", SimpleNamespace(time=time.time, monotonic=partial(next, clock)))
        for done in range(1, 101):
            step.progress("rows", done=done, total=100)
    told = [event["done"] for event in events(capfd.readouterr().out) if event["event"] == "progress"]
    assert told == [*range(1, 101, 4), 100]


def test_no_duration_follows_a_clock_that_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter([1000.0, 400.0])
    monkeypatch.setattr(
        steps, "time", SimpleNamespace(time=partial(next, wall), monotonic=itertools.count(50.0, 2.5).__next__)
    )
    with steps.running("train", root=str(tmp_path)) as step:
        step.identity = "abc"
    record = steps.read_record(str(tmp_path), "train", "abc")
    assert record is not None
    assert [record[name] for name in ("started", "finished", "seconds")] == [1000.0, 1002.5, 2.5]


def test_a_marked_run_knows_its_records_by_the_mark_and_not_by_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(steps.ENGINE_RUN, "a")
    with steps.running("train", root=str(tmp_path)) as step:
        step.identity = "abc"
    record = steps.read_record(str(tmp_path), "train", "abc")
    assert record is not None
    assert steps.is_of_run(record, record["started"] + 1000.0)
    monkeypatch.setenv(steps.ENGINE_RUN, "b")
    assert not steps.is_of_run(record, record["started"] - 1000.0)
    monkeypatch.delenv(steps.ENGINE_RUN)
    assert [steps.is_of_run(record, record["started"] + late) for late in (0.0, 1.0)] == [True, False]


def test_a_step_ends_with_its_engine(tmp_path: Path) -> None:
    engine = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = (
        "import time\nfrom headrace.core.steps.step import running\n"
        f"with running('train', root={str(tmp_path)!r}):\n    time.sleep(3600)\n"
    )
    step = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, steps.ENGINE_PID: str(engine.pid)})
    engine.kill()
    engine.wait()
    assert engine.stdin is not None
    engine.stdin.close()
    assert step.wait() == 75


@given(st.text())
def test_parse_event_takes_nothing_else(line: str) -> None:
    event = steps.parse_event(line)
    assert event is None or "event" in event


def test_identity_follows_every_fact() -> None:
    assert steps.identity("train", a=1, b=2) == steps.identity("train", b=2, a=1)
    assert len({steps.identity("train", a=1), steps.identity("train", a=2), steps.identity("evaluate", a=1)}) == 3


def test_a_step_without_a_root_writes_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with steps.running("preprocess", root="") as step:
        step.identity = "0123456789abcdef"
    with pytest.raises(SystemExit) as ended, steps.running("preprocess", root="") as step:
        step.identity = "0123456789abcdef"
        raise DataError("wrong")
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []
