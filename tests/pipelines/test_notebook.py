"""Runs from notebooks and scripts: what is refused before anything starts. The runs are in test_run_static.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headrace
from headrace import Numeric, Problem
from headrace.core.errors import UsageError


@pytest.mark.parametrize("run", [headrace.run, headrace.run_tuned, headrace.run_batch_scoring])
def test_an_argument_that_is_no_path_is_named(tmp_path: Path, run: Callable[..., Any]) -> None:
    problem = Problem("p", "id", Numeric("y"), [Numeric("x")])
    with pytest.raises(UsageError, match=r"problem is not a path\. Expected the path of the file.*a Problem\. Write"):
        run(problem, "a.csv", tmp_path / "out")
    with pytest.raises(UsageError, match=r"data is not a path\. .*Received: a Table\."):
        run("p.py", pa.table({"x": [1]}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
