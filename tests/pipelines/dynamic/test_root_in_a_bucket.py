"""Dynamic training on this machine with its root in a bucket: runs and the endpoint are in a working folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import lines
from support.command import headrace

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.pipelines.dynamic.settings import read
from headrace.pipelines.runs.local_root import work_of

TRAINING = "training=Training(epochs=1, batch_size=64, hidden_units=[4], seed=1)"
PROBLEM = lines.PROBLEM.replace("Numeric, Problem", "Numeric, Problem, Training").replace(
    "at_most=100.0),", f"at_most=100.0),\n    {TRAINING},"
)


def rows(day: int) -> bytes:
    return lines.rows(f"{day}-").encode()


@pytest.fixture
def problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "lines.py"
    path.write_text(PROBLEM)
    return path


def test_a_span_becomes_a_champion_and_nothing_is_left_to_do(store: str, problem: Path, tmp_path: Path) -> None:
    root, data = f"{store}/root", f"{store}/2026-11-20.csv"
    storage.write_bytes(data, rows(20))
    work = work_of(root)
    set_up = headrace("dynamic", "init", "--problem", problem, "--root", root)
    assert set_up.returncode == 0, set_up.stderr
    added = headrace("dynamic", "add", root, "--span", "2026-11-20", "--data", data)
    assert added.returncode == 0, added.stderr
    try:
        ended = headrace("run", "dynamic", "--root", root, "--json")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        told = json.loads(ended.stdout)
        assert (told["did"], [one["outcome"] for one in told["runs"]]) == ("idle", ["promoted"])
        registry = Registry(f"{root}/registry/lines")
        champion = registry.champion()
        assert champion.uri.startswith(f"{root}/registry/lines/versions/")
        endpoint = json.loads(Path(work, "endpoints", "lines", "endpoint.json").read_text())
        assert endpoint["live"] == champion.version
        status = json.loads(headrace("dynamic", "status", root, "--json").stdout)
        assert (status["ledger"]["epoch"], status["waiting"]) == (1, [])
        assert [one["outcome"] for one in status["ledger"]["history"]] == ["promoted"]
        assert {"ledger.json", "settings.json", "inbox"} <= storage.names_below(f"{root}/dynamic/lines")
        (run,) = storage.names_below(f"{root}/runs")
        assert {"summary.json", "run.json", "logs"} <= storage.names_below(f"{root}/runs/{run}")
        assert storage.names_below(f"{root}/spans/lines")
        # Records, spans and the ledger are in the bucket alone.
        assert not {"records", "spans", "registry"} & {entry.name for entry in Path(work).iterdir()}
        again = headrace("tick", root)
        assert (again.returncode, again.stdout.split(":")[0]) == (0, "idle")
    finally:
        headrace("endpoint", "stop", f"{work}/endpoints/lines")


def test_another_machine_adds_data_and_starts_nothing(
    store: str, problem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, data = f"{store}/root", f"{store}/2026-11-20.csv"
    storage.write_bytes(data, rows(20))
    for _ in range(2):
        assert headrace("dynamic", "init", "--problem", problem, "--root", root).returncode == 0
    here = read(root)
    assert here.endpoint == f"{work_of(root)}/endpoints/lines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    for refused in (("run", "dynamic", "--root", root), ("tick", root)):
        ended = headrace(*refused)
        assert ended.returncode == 2
        assert "the dynamic training runs on another machine" in ended.stderr
        assert "Traceback" not in ended.stderr
    local = tmp_path / "day.csv"
    local.write_bytes(rows(21))
    ended = headrace("dynamic", "add", root, "--span", "2026-11-21", "--data", local)
    assert (ended.returncode, "another machine" in ended.stderr) == (2, True)
    assert headrace("dynamic", "add", root, "--span", "2026-11-20", "--data", data).returncode == 0
    assert "2026-11-20" in headrace("dynamic", "status", root).stdout
    moved = ("dynamic", "init", "--problem", problem, "--root", root)
    assert "with other settings" in headrace(*moved).stderr
    assert headrace(*moved, "--replace").returncode == 0
    there = read(root)
    assert there.machine != here.machine
    assert there.endpoint == f"{work_of(root)}/endpoints/lines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "another machine" in headrace("tick", root).stderr
