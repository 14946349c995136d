"""Shell completion: commands, options and paths, by bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.pipelines.cli import COMMANDS, cli
from headrace.pipelines.commands.completion import answer

# As the installed script does it.
_MAIN = "import sys; sys.argv[0] = 'headrace'; from headrace.pipelines.cli import main; main()"


def completed(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the command answers to a press of Tab at the end of `words`."""
    request = {"_HEADRACE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    return subprocess.run(
        [sys.executable, "-c", _MAIN], env={**os.environ, **request, **environment},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_commands_options_and_paths(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def answers(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        assert answer(cli, "bash_complete") == 0
        return capsys.readouterr().out.split()

    assert answers("headrace ") == [f"plain,{name}" for name in COMMANDS]
    assert answers("headrace comp") == ["plain,compare", "plain,compile", "plain,completion"]
    assert answers("headrace run st") == ["plain,static"]
    assert answers("headrace train --str") == ["plain,--strategy"]
    assert answers("headrace lint --for v") == ["plain,vertex"]
    assert answers("headrace train --examples exam") == ["file,exam"]
    assert answers("headrace train --nothing") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell]).output
    assert f"_HEADRACE_COMPLETE={shell}_complete" in script


def test_an_unknown_instruction_fails_without_a_word() -> None:
    done = completed("headrace ", _HEADRACE_COMPLETE="tcsh_complete")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("words", ["headrace ", "headrace run ", "headrace score --", "headrace train --strategy "])
def test_nothing_heavy_is_imported_to_complete(words: str) -> None:
    code = (
        "import atexit, os, sys\n"
        "heavy = {'tensorflow', 'apache_beam', 'keras', 'kfp', 'pyarrow', 'jinja2'}\n"
        "atexit.register(lambda: os.write(2, ','.join(heavy & set(sys.modules)).encode()))\n"
    )
    request = {"_HEADRACE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code + _MAIN], env={**os.environ, **request},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    program = tmp_path / "headrace"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{_MAIN}" "$@"\n')
    program.chmod(0o755)
    asked = (
        'eval "$(headrace completion bash)"; COMP_WORDS=(headrace endpoint st); COMP_CWORD=2; '
        '_headrace_completion headrace; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("start status stop\n", "")
