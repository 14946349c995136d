"""Problem fuzzing of the commands after preprocessing: whatever a Problem file holds, each ends with 0, 2 or 3.

Damaged files go through what checks a Problem before any work. Files with extreme values that preprocessing accepts are
trained for a second, and the Model is evaluated, scored and served.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import headrace
from support.fuzzing import max_examples
from support.peak_memory import bounded_memory
from support.problem_fuzzing import FILES, TABLE, TABLE_ROWS, bounded, extreme_problem_files, problem_files

from headrace.components.serve import start
from headrace.components.serve.app import ServerApp
from headrace.components.serve.config import ServeConfig
from headrace.core import storage
from headrace.core.errors import HeadraceError

_GOLDEN = Path(__file__).parent / "golden"
_VERTEX = ("--platform", "vertex", "--project", "my-project", "--region", "europe-west1")
_INPUTS = ("--data", "gs://b/rows.csv", "--data-version", "v1", "--root", "gs://b/root")
_SECOND = "0.0003"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture(autouse=True)
def quiet_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    # Loggers of libraries keep the outputs of an earlier command, which are closed.
    monkeypatch.setattr(logging, "raiseExceptions", False)


@contextmanager
def problem_in(text: str) -> Iterator[Path]:
    """A folder of its own with a Problem file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "problem.py")
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        yield path


# Bytes that a command may take, with all processes that it starts.
_MEMORY = 3 << 29


def ended(*command: str | Path, seconds: int = 60) -> CompletedProcess[str]:
    """Runs a command that must end by itself, well or with one paragraph."""
    with bounded(seconds), bounded_memory(_MEMORY):
        done = headrace(*command)
    assert done.returncode in (0, 2, 3), (command, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == 0 or done.stderr.strip()
    return done


@pytest.mark.parametrize("spec", ["static", "tuned", "dynamic"])
@pytest.mark.parametrize("number", FILES)
@max_examples(6, fuzz=500)
@given(draw=st.data())
def test_a_damaged_problem_ends_in_a_paragraph_before_any_work(
    data: Path, number: int, spec: str, draw: st.DataObject
) -> None:
    with problem_in(draw.draw(problem_files(number))) as problem:
        root, window = problem.with_name("root"), problem.with_name("window")
        read = ("--problem", problem)
        statuses = [
            ended("train", *read, "--describe-devices").returncode,
            ended("dynamic", "init", *read, "--root", root).returncode,
        ]
        ended("submit", _GOLDEN / f"{spec}_training_vertex.yaml", *_VERTEX, *read, *_INPUTS, "--dry-run")
        span = ("--span", "2026-01-01", "--data", data, "--root", problem.with_name("spans"))
        added = ended("ingest", *read, *span, "--output", window)
        # What the Problem file itself says is the same to each.
        assert len({*statuses}) == 1
        assert (root / "dynamic").is_dir() is (statuses[1] == 0)
        # A span of which every row is wrong, or that lacks a column, is quarantined as a whole, and there is no window.
        assert window.is_dir() is (added.returncode == 0 and "is quarantined" not in added.stderr)


@pytest.mark.parametrize("number", FILES)
@max_examples(3, fuzz=60)
@given(draw=st.data())
def test_an_extreme_problem_is_trained_evaluated_scored_and_served(
    data: Path, number: int, draw: st.DataObject
) -> None:
    with problem_in(draw.draw(extreme_problem_files(number))) as problem:
        examples, model, output = (problem.with_name(name) for name in ("examples", "model", "output"))
        read = ("--problem", problem)
        if ended("preprocess", *read, "--data", data, "--output", examples).returncode:
            return
        trained = ended("train", *read, "--examples", examples, "--output", model, "--max-hours", _SECOND, seconds=120)
        assert model.is_dir() is (trained.returncode == 0)
        if trained.returncode:
            return
        ended("evaluate", *read, "--examples", examples, "--model", model, "--output", problem.with_name("evaluation"))
        scored = ended("score", "--model", model, "--data", data, "--output", output, "--quarantine-budget", "1")
        if not scored.returncode:
            manifest = storage.read_json(str(output / "manifest.json"))
            assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_quarantined"] == TABLE_ROWS
        served(model)


def served(model: Path) -> None:
    """A server's checks and its first prediction."""
    app, status = None, 0
    try:
        found = start.find(ServeConfig(str(model)))
        app = ServerApp(found.name, found.version)
        start.load(found, app, lambda *_, **__: None)
    except HeadraceError as error:
        status = error.exit_status
    finally:
        if app is not None:
            app.batcher.close()
    assert status in (0, 2, 3)
