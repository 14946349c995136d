"""`headrace quarantine show` tells what went wrong, and its CSV goes back in by `headrace preprocess --append`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_lines
from headrace.core.errors import DataError, UsageError
from headrace.pipelines.cli import cli

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
ROWS = [
    QuarantinedRow("a.csv", 3, Fault("age", "out_of_range", "age is 200, which is not between 10 and 65"),
                   {"id": "3", "age": "200", "kind": "x"},
                   (Fault("kind", "unknown_value", "kind is [red]x[/red]\x1b[2J"),)),
    QuarantinedRow("a.csv", 12, Fault("age", "missing_value", "age is missing"),
                   {"id": "12", "age": None, "kind": "y"}),
    QuarantinedRow("b.parquet", 1, Fault("age", "missing_value", "age is missing"),
                   {"id": 4, "age": None, "kind": True}),
]  # fmt: skip


def show(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["quarantine", "show", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "part-00000-of-00001.jsonl").write_bytes(to_lines(ROWS))
    return tmp_path


def test_counts_and_rows(folder: Path) -> None:
    lines = show(str(folder)).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["reason", "rows"], ["missing_value", "2"], ["out_of_range", "1"], ["all", "3"],
    ]  # fmt: skip
    assert [line.split()[:3] for line in lines[5:7]] == [["file", "row", "column"], ["a.csv", "3", "age"]]
    text = "\n".join(lines)
    assert "kind is [red]x[/red]\\x1b[2J" in text
    assert "\x1b" not in text


def test_reason_and_limit(folder: Path) -> None:
    found = show(str(folder), "--reason", "unknown_value")
    assert "age is 200" in found
    assert "age is missing" not in found
    assert "... and 2 more; --limit 0 shows all" in show(str(folder), "--limit", "1")
    with pytest.raises(UsageError, match="the reason does not exist"):
        show(str(folder), "--reason", "bad")
    with pytest.raises(DataError):
        show(str(folder / "none"))


def test_values_as_csv(folder: Path, tmp_path: Path) -> None:
    show(str(folder), "--reason", "missing_value", "--output", str(tmp_path / "rows.csv"))
    assert (tmp_path / "rows.csv").read_text() == (
        "id,age,kind,quarantine_id,quarantine_reason,quarantine_message\n"
        f"12,,y,{ROWS[1].id},missing_value,age is missing\n"
        f"4,,true,{ROWS[2].id},missing_value,age is missing\n"
    )


def test_the_way_of_a_row_there_and_back(tmp_path: Path) -> None:
    examples, rows = str(tmp_path / "examples"), tmp_path / "corrected.csv"
    common = ["preprocess", "--problem", str(NATALITY / "natality.py"), "--output", examples]

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, [*common, *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    run("--data", str(NATALITY / "births.csv"))
    assert "gestation_weeks is missing" in " ".join(show(examples, "--output", str(rows)).split())
    rows.write_text(rows.read_text().replace("1118,8.5,20,,", "1118,8.5,20,39,"))
    run("--append", "--data", str(rows))
    run("--append", "--data", str(rows))
    manifest = Manifest.read(examples)
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (1450, 1450, 0)
    # Rows that were put back are not lost unasked.
    with pytest.raises(UsageError, match="1 row was appended to the Examples there"):
        run("--data", str(NATALITY / "births.csv"))
    with pytest.raises(UsageError, match="--append and --replace exclude each other"):
        run("--append", "--replace", "--data", str(rows))
    run("--replace", "--data", str(NATALITY / "births.csv"))
    assert Manifest.read(examples).rows_quarantined == 1


def test_corrections_in_a_dialect(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As a spreadsheet saves them: semicolons, in Latin-1."""
    examples, rows = str(tmp_path / "examples"), tmp_path / "corrected.csv"
    common = ["preprocess", "--problem", str(NATALITY / "natality.py"), "--output", examples]
    CliRunner().invoke(cli, [*common, "--data", str(NATALITY / "births.csv")], catch_exceptions=False)
    show(examples, "--output", str(rows))
    saved = rows.read_text().replace("1118,8.5,20,,", "1118,8.5,20,39,").replace(",", ";")
    rows.write_bytes(saved.replace("is missing", "is missing, caf\xe9").encode("latin-1"))
    dialect = ["--csv", "delimiter=;", "--csv", "encoding=latin-1"]
    capfd.readouterr()
    CliRunner().invoke(cli, [*common, "--append", "--data", str(rows), *dialect], catch_exceptions=False)
    assert capfd.readouterr().out.startswith(
        "1 row added, 1 of them in the place of a quarantined one; now 1,450 rows in = 1,450 out + 0 quarantined: "
    )


def test_one_span_is_said_as_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common = ["preprocess", "--problem", str(NATALITY / "natality.py"), "--output", str(tmp_path / "examples")]
    arguments = [*common, "--data", str(NATALITY / "births.csv")]
    CliRunner().invoke(cli, [*arguments, "--span", "7"], catch_exceptions=False)
    told = capfd.readouterr().out
    assert told.startswith("1,450 rows added; now 1,450 rows in = 1,449 out + 1 quarantined, 1 span: ")
    with pytest.raises(UsageError, match="consist of 1 span, which this would replace"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
