"""SIGTERM while the command imports its modules: one line, the exit status 75, and nothing is left.

The signal is sent when a module is first looked for, and not at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NATALITY = Path(__file__).parents[2] / "examples" / "natality"
TERMINATED = (
    "headrace: the run was terminated. Received: SIGTERM. "
    "Run the same command again; finished steps are not repeated.\n"
)
# As `python -m headrace`, or as the script of the installed package.
MODULE = "runpy.run_module('headrace', run_name='__main__', alter_sys=True)"
SCRIPT = "from headrace.__main__ import main; main()"
CODE = """
import os, runpy, signal, sys

class Terminate:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            # Many a package handles the exceptions of its imports so.
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                while True:
                    pass
            except {handled}:
                pass

sys.meta_path.insert(0, Terminate())
sys.argv = ["headrace", *{arguments!r}]
{start}
"""


def command(
    name: str, arguments: list[str], start: str, temporary: Path, handled: str = "Exception"
) -> subprocess.CompletedProcess[str]:
    """The command, with a signal when it imports a module whose importer handles exceptions of a class."""
    temporary.mkdir()
    code = CODE.format(name=name, arguments=arguments, start=start, handled=handled)
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


@pytest.mark.parametrize("start", [MODULE, SCRIPT])
@pytest.mark.parametrize(
    "name", ["headrace.pipelines", "click", "headrace.core.text", "headrace.pipelines.commands.run"]
)
def test_a_signal_while_the_command_is_imported(tmp_path: Path, name: str, start: str) -> None:
    arguments = ["run", "static", "--problem", "p.py", "--data", "d.csv", "--root", str(tmp_path / "root")]
    ended = command(name, arguments, start, tmp_path / "temporary")
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "", TERMINATED)
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


@pytest.mark.parametrize("arguments", [["status", "--help"], ["lint", "--help"]])
def test_a_signal_while_another_command_is_imported(tmp_path: Path, arguments: list[str]) -> None:
    ended = command(f"headrace.pipelines.commands.{arguments[0]}", arguments, MODULE, tmp_path / "temporary")
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "", TERMINATED)


def test_a_signal_while_a_run_is_planned_leaves_nothing(tmp_path: Path) -> None:
    """The processes of the steps have a temporary folder by then."""
    arguments = ["run", "static", "--problem", str(NATALITY / "natality.py"), "--data", str(NATALITY / "births.csv")]
    arguments += ["--root", str(tmp_path / "root")]
    module = "headrace.components.preprocess.check"
    ended = command(module, arguments, MODULE, tmp_path / "temporary", handled="ImportError")
    assert (ended.returncode, ended.stdout) == (75, "")
    assert " ".join(ended.stderr.split()) == TERMINATED.rstrip()
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]
