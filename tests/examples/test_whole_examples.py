"""The examples of `make run-serving`, `make run-dynamic` and `make run-stream`, as a user runs them.

Each checks what it shows, and ends with another status than 0 if it is not so: a failed request, a day that ended in
another way, a metric that did not recover.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.natality import fetch_births

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


def run(script: str, *options: object) -> str:
    """Runs a script of the examples with the commands of this environment, and returns what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, options)],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    run("flight_time/fetch.py", tmp_path / "flights.parquet")
    return tmp_path / "flights.parquet"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_canaries_a_table_and_the_hybrid_mode_under_load(tmp_path: Path) -> None:
    fetch_births()
    printed = run("serving/run.py", "--output", tmp_path / "serving")
    assert " 0 failed" in printed, printed
    assert (tmp_path / "serving" / "serving.html").is_file()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_weeks_of_dynamic_training(flights: Path) -> None:
    # It reads the flights next to its output.
    printed = run("dynamic/run.py", "--output", flights.parent / "dynamic")
    assert " 0 failed" in printed, printed
    assert (flights.parent / "dynamic" / "dynamic.html").is_file()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_closed_loop_of_a_stream(tmp_path: Path, flights: Path) -> None:
    printed = run("stream/run.py", "--flights", flights, "--output", tmp_path / "stream")
    assert "predictions" in printed, printed
    assert (tmp_path / "stream" / "stream.html").is_file()
