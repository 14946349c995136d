"""Unfinished folders of killed processes are removed, and those of live ones stay."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.core.storage.output import publishing
from headrace.core.storage.unfinished import remove_abandoned, unfinished


def left_by_a_killed_process(path: Path) -> Path:
    code = (
        "import os, pathlib, signal, sys\n"
        "from headrace.core.storage.output import publishing\n"
        "with publishing(sys.argv[1], None) as folder:\n"
        "    (folder / 'half').mkdir()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    (left,) = path.parent.glob(".*")
    assert [path.name for path in left.iterdir()] == ["half"]
    return left


@pytest.mark.parametrize("name", ["model", "mo[d]*el"])
def test_a_killed_process_leaves_nothing_for_ever(tmp_path: Path, name: str) -> None:
    left = left_by_a_killed_process(tmp_path / name)
    with publishing(str(tmp_path / name), None) as folder:
        assert not left.exists()
        (folder / "x").touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_a_live_process_writes_stays(tmp_path: Path) -> None:
    with unfinished(tmp_path / "model") as one, unfinished(tmp_path / "model") as other:
        remove_abandoned(tmp_path.iterdir())
        assert sorted(tmp_path.iterdir()) == sorted([one, other])
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    names = [
        ".model",
        "model.0123456789abcdef",
        ".model.0123",
        ".model.edit-0123456789abcdef",
        ".other.0123456789abcdeg",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".file.0123456789abcdef").touch()
    (tmp_path / ".link.0123456789abcdef").symlink_to(tmp_path / "model.0123456789abcdef")
    before = sorted(tmp_path.iterdir())
    remove_abandoned(before)
    # That of another output stays beside this one's.
    (tmp_path / ".model.v2.0123456789abcdef").mkdir()
    with unfinished(tmp_path / "model"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / ".model.v2.0123456789abcdef"])


def test_a_folder_that_was_taken_for_abandoned_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    mkdir = Path.mkdir

    def swept(path: Path) -> None:
        mkdir(path)
        made.append(path)
        if len(made) == 1:
            remove_abandoned([path])

    monkeypatch.setattr(Path, "mkdir", swept)
    with unfinished(tmp_path / "model") as folder:
        assert folder == made[1]
        assert folder.is_dir()
