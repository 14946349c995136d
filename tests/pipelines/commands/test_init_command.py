"""`headrace init` writes a Problem file that loads, and writes over none unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.core.errors import UsageError
from headrace.core.problem.file import load_problem
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
    with pytest.raises(UsageError, match="the file already exists"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert output.read_text() == "mine"
    CliRunner().invoke(cli, [*arguments, "--replace", "--name", "weights"], catch_exceptions=False)
    assert load_problem(str(output)).problem.name == "weights"


def test_a_table_in_a_dialect(tmp_path: Path) -> None:
    data, output = tmp_path / "births.csv", tmp_path / "problem.py"
    data.write_text("# exported\n" + BIRTHS.read_text().replace(",", ";"))
    arguments = ["init", "--data", str(data), "--label", "weight_pounds", "--output", str(output)]
    dialect = ["--csv", "delimiter=;", "--csv", "comment=#"]
    told = CliRunner().invoke(cli, [*arguments, *dialect], catch_exceptions=False).stdout
    assert "from 8 features, key record_id; inferred from all 1,450 rows" in told
    assert f"--data {data} --csv 'delimiter=;' --csv 'comment=#' --root out" in told
    plain = tmp_path / "plain.py"
    CliRunner().invoke(
        cli, ["init", "--data", str(BIRTHS), "--label", "weight_pounds", "--output", str(plain)], catch_exceptions=False
    )
    assert output.read_text() == plain.read_text()
