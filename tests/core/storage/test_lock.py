"""The lock between processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.core.errors import PlatformError, UsageError
from headrace.core.storage.lock import locked

_HOLD = """
import sys, time
from headrace.core.storage.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(3600)
"""


def test_makes_the_folder_and_can_be_taken_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        with locked(str(folder), timeout_s=0):
            assert folder.is_dir()


def test_another_holder_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    with locked(str(tmp_path)):
        begin = time.monotonic()
        with pytest.raises(PlatformError, match="another process holds the lock"), locked(str(tmp_path), timeout_s=0.2):
            pass
        assert time.monotonic() - begin >= 0.2


def test_a_killed_holder_gives_it_back(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PlatformError), locked(str(tmp_path), timeout_s=0):
            pass
        holder.kill()
        with locked(str(tmp_path), timeout_s=300):
            pass


def test_a_child_that_inherits_it_holds_it_until_it_closes_it(tmp_path: Path) -> None:
    with locked(str(tmp_path)) as descriptor:
        child = subprocess.Popen(["sleep", "3600"], pass_fds=(descriptor,))
    try:
        with pytest.raises(PlatformError), locked(str(tmp_path), timeout_s=0):
            pass
    finally:
        child.kill()
        child.wait()
    with locked(str(tmp_path), timeout_s=300):
        pass


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"), locked(str(tmp_path / "file" / "folder")):
        pass
