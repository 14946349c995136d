"""`headrace init` writes a Problem file that loads, and writes over none unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.components.errors import UsageError
from headrace.components.problem_file import load_problem
from headrace.pipelines.cli import cli

BIRTHS = Path(__file__).parents[3] / "examples" / "natality" / "births.csv"


def test_a_file_to_edit(tmp_path: Path) -> None:
    output = tmp_path / "problem.py"
    arguments = ["init", "--data", str(BIRTHS), "--label", "weight_pounds", "--output", str(output)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert (
        "predicts weight_pounds (regression) from 8 features, key record_id; inferred from all 1,450" in result.stdout
    )
    assert load_problem(str(output)).problem.name == "births"
    output.write_text("mine")
    with pytest.raises(UsageError, match="there is a file already"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert output.read_text() == "mine"
    CliRunner().invoke(cli, [*arguments, "--replace", "--name", "weights"], catch_exceptions=False)
    assert load_problem(str(output)).problem.name == "weights"
