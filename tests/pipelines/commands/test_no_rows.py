"""Data without rows: training ends with nothing to do, scoring gives empty Predictions, and both exit 0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import headrace

PROBLEM = """from headrace import Numeric, Problem
problem = Problem(name="empty", key="id", label=Numeric("y"), features=[Numeric("x")]{more})
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The Problem file and the data of a day on which nothing happened."""
    (tmp_path / "problem.py").write_text(PROBLEM.format(more=""))
    (tmp_path / "day.csv").write_text("id,x,y\n")
    return ["--problem", str(tmp_path / "problem.py"), "--data", str(tmp_path / "day.csv")]


def test_preprocess_leaves_what_is_there(arguments: list[str], tmp_path: Path) -> None:
    done = headrace("preprocess", *arguments, "--output", tmp_path / "examples")
    assert done.returncode == 0
    assert "day.csv: nothing to do: the data has no rows" in done.stderr
    assert not (tmp_path / "examples").exists()


def test_a_run_ends_without_a_model_and_says_so(arguments: list[str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = headrace("run", "static", *arguments, "--root", root)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "nothing to do: the data has no rows" in done.stdout
    (folder,) = (root / "runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "succeeded"
    assert "the data has no rows" in summary["nothing_to_do"]
    assert [(step["step"], step["status"]) for step in summary["steps"]] == [
        ("preprocess", "succeeded"),
        ("train", "skipped"),
        ("evaluate", "skipped"),
        ("register", "skipped"),
        ("deploy", "skipped"),
    ]
    assert "Nothing to do" in (folder / "report.html").read_text()
    assert "nothing to do: the data has no rows" in headrace("status", root).stdout
    assert not (root / "registry").exists()


def test_a_problem_may_refuse_such_data(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "problem.py").write_text(PROBLEM.format(more=', no_rows="refuse"'))
    for command, place in (("preprocess", ("--output", tmp_path / "out")), ("run", ("--root", tmp_path / "root"))):
        words = [command, "static"] if command == "run" else [command]
        done = headrace(*words, *arguments, *place)
        assert done.returncode == 2
        assert "the data has no rows" in done.stderr
