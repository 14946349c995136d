"""The command answers at once, teaches, and turns errors into one paragraph and the right exit status."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.pipelines.cli import COMMANDS, cli, main

ROOT = Path(__file__).parents[2]
NATALITY = ROOT / "examples" / "natality"


def headrace(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace.pipelines.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_lists_every_command_and_the_exit_statuses() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert all(name in shown for name in COMMANDS)
    for status in ("0 ", "2 ", "3 ", "75"):
        assert f"\n    {status}" in shown


def test_the_version_names_what_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for absence, told in (("", "used"), ("it was not built", "not used, it was not built")):
        monkeypatch.setattr("headrace.core.tfrecord.native.absence", lambda absence=absence: absence)
        shown = CliRunner().invoke(cli, ["--version"])
        assert (shown.exit_code, shown.output) == (0, f"headrace, version {version('headrace')}\nC code: {told}\n")


def test_an_argument_that_is_not_utf8(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["headrace", "init", "--data", os.fsdecode(b"a\xff.csv")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "an argument is not UTF-8. Expected UTF-8 text. Received: a\\xff.csv." in capsys.readouterr().err


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["compile", "static", "--output", os.devnull + ".yaml"],
        ["compile", "batch-scoring", "--output", os.devnull + ".yaml"],
        ["run", "static", "--help"],
        ["score", "--help"],
    ],
)
def test_nothing_heavy_is_imported_to_answer(arguments: list[str], tmp_path: Path) -> None:
    arguments = [a if a != os.devnull + ".yaml" else str(tmp_path / "x.yaml") for a in arguments]
    code = (
        "import sys\nfrom headrace.pipelines.cli import cli\n"
        f"cli.main({arguments!r}, standalone_mode=False)\n"
        "heavy = {'tensorflow', 'apache_beam', 'keras', 'matplotlib', 'google.cloud.aiplatform'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_only_the_command_line() -> None:
    code = (
        "import sys\nfrom headrace.pipelines.cli import cli\ncli.main(['--help'], standalone_mode=False)\n"
        "sys.exit(','.join({'kfp', 'pyarrow', 'numpy', 'rich'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("problem", "data", "said"),
    [
        ("nowhere.py", "births.csv", "the Problem file does not exist"),
        ("natality.py", "nowhere.csv", "no file, folder or match of the pattern exists"),
        ("births.csv", "births.csv", "the Problem file is not Python"),
    ],
)
def test_bad_input_is_one_paragraph(problem: str, data: str, said: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = headrace(
        "run", "static", "--problem", str(NATALITY / problem), "--data", str(NATALITY / data), "--root", str(root)
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not root.exists()


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = headrace(
        "run",
        "static",
        "--problem",
        str(NATALITY / "natality.py"),
        "--data",
        str(NATALITY / "births.csv"),
        "--root",
        str(tmp_path / "file"),
    )
    assert done.returncode == 2
    assert "Expected a new path, or a root written by headrace. Received: a file." in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = headrace("--debug", "train", "--problem", str(tmp_path / "x.py"), "--examples", "e", "--output", "o")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_missing_option_is_exit_2() -> None:
    done = headrace("run", "static")
    assert done.returncode == 2
    assert "--problem" in done.stderr
