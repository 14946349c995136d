"""File fuzzing: whatever a file of rows holds, `headrace preprocess` ends with 0, 2 or 3, and loses no row.

The command runs in this process, from its arguments to its exit status. `make test` tries the same files each time,
`make fuzz` new ones.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from support.command import headrace
from support.file_fuzzing import ROWS, damaged_files, whole
from support.fuzzing import max_examples
from support.peak_memory import bounded_memory
from support.problem_fuzzing import bounded

# CPU seconds and bytes of memory that a command may take, with all processes that it starts.
_SECONDS, _MEMORY = 60, 3 << 29
_PROBLEM = """
from headrace import *

problem = Problem(
    name="lines",
    key="id",
    label=Numeric("x"),
    features=[Numeric("n", optional=True), Categorical("city", optional=True)],
    splits=Splits(train=0.6, eval=0.2, test=0.2),
    gate=None,
    quarantine_budget=0.5,
)
"""


def preprocessed(name: str, content: bytes) -> tuple[int, int]:
    """The exit status of `headrace preprocess` on one file, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        data, problem, output = Path(folder, "rows", name), Path(folder, "problem.py"), Path(folder, "examples")
        data.parent.mkdir()
        data.write_bytes(content)
        problem.write_text(_PROBLEM)
        with bounded(_SECONDS), bounded_memory(_MEMORY):
            ended = headrace("preprocess", "--problem", problem, "--data", data.parent, "--output", output)
        assert ended.returncode in (0, 2, 3), ended.stderr
        assert "Traceback" not in ended.stderr + ended.stdout
        if ended.returncode or "nothing to do: the data has no rows" in ended.stderr:
            assert ended.stderr.strip()
            assert not output.exists()
            return ended.returncode, 0
        manifest = json.loads((output / "manifest.json").read_text())
        assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_quarantined"]
        return 0, manifest["rows_in"]


@pytest.mark.parametrize("name", sorted(whole()))
def test_a_whole_file_is_read(name: str) -> None:
    """But for the types that hold themselves, of which no value has a bounded depth."""
    refused = name == "recursive.avro"
    assert preprocessed(name, whole()[name]) == ((2, 0) if refused else (0, len(ROWS)))


@max_examples(40, fuzz=1000)
@given(file=damaged_files())
def test_a_damaged_file_ends_in_a_paragraph_or_loses_no_row(file: tuple[str, bytes]) -> None:
    preprocessed(*file)
