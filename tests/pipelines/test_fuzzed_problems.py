"""Problem fuzzing: whatever stands in a Problem file, `headrace preprocess` ends with 0 or 2, and loses no row.

The command runs in this process, from its arguments to its exit status. `make test` tries the same values each time,
`make fuzz` new ones.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import headrace
from support.fuzzing import max_examples
from support.peak_memory import bounded_memory
from support.problem_fuzzing import FILES, TABLE, TABLE_ROWS, bounded, problem_files

# CPU seconds and bytes of memory that a command may take, with all processes that it starts.
_SECONDS, _MEMORY = 60, 3 << 29


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize("number", FILES)
@max_examples(80, fuzz=1500)
@given(draw=st.data())
def test_a_damaged_problem_ends_in_a_paragraph(data: Path, number: int, draw: st.DataObject) -> None:
    text = draw.draw(problem_files(number))
    folder = Path(tempfile.mkdtemp())
    try:
        problem, output = folder / "problem.py", folder / "examples"
        problem.write_text(text, encoding="utf-8", errors="surrogatepass")
        with bounded(_SECONDS), bounded_memory(_MEMORY):
            ended = headrace("preprocess", "--problem", problem, "--data", data, "--output", output)
        assert ended.returncode in (0, 2), ended.stderr
        assert "Traceback" not in ended.stderr + ended.stdout
        if ended.returncode == 2:
            assert ended.stderr.strip()
            assert not output.exists()
            return
        manifest = json.loads((output / "manifest.json").read_text())
        assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_quarantined"] == TABLE_ROWS
    finally:
        shutil.rmtree(folder)
