"""The lock between processes."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.core.errors import PlatformError, UsageError
from headrace.core.storage import lock
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


class Clock:
    """A clock that only sleep moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_another_holder_is_waited_for_no_longer_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(str(tmp_path)):
        clock = Clock()
        monkeypatch.setattr(lock, "time", clock)
        with pytest.raises(PlatformError, match="another process holds the lock"), locked(str(tmp_path), timeout_s=9):
            pass
        assert 9 <= clock.now < 9.1


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


def test_a_lock_with_a_name_of_its_own_leaves_no_file(tmp_path: Path) -> None:
    with locked(str(tmp_path), name=".state.lock"), locked(str(tmp_path)):
        assert {entry.name for entry in tmp_path.iterdir()} == {".state.lock", ".lock"}
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_holder_leaves_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".state.lock").touch()
    with locked(str(tmp_path), timeout_s=0, name=".state.lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_a_child_holds_keeps_its_file(tmp_path: Path) -> None:
    with locked(str(tmp_path), name=".launch.lock") as descriptor:
        child = subprocess.Popen(["sleep", "3600"], pass_fds=(descriptor,))
    try:
        with pytest.raises(PlatformError), locked(str(tmp_path), timeout_s=0, name=".launch.lock"):
            pass
    finally:
        child.kill()
        child.wait()
    with locked(str(tmp_path), timeout_s=300, name=".launch.lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_removed_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking a file, another process removes it and holds the lock of a new one."""
    with ExitStack() as other:
        flock = fcntl.flock

        def overtaken(descriptor: int, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", flock)
            (tmp_path / ".state.lock").unlink()
            other.enter_context(locked(str(tmp_path), timeout_s=0, name=".state.lock"))
            flock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", overtaken)
        with pytest.raises(PlatformError), locked(str(tmp_path), timeout_s=0, name=".state.lock"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_threads_that_lock_and_remove_exclude_each_other(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> None:
        for _ in range(100):
            with locked(str(tmp_path), timeout_s=300, name=".state.lock"):
                counter.write_text(str(int(counter.read_text()) + 1))

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(count) for _ in range(4)]:
            done.result()
    assert counter.read_text() == "400"
    assert [entry.name for entry in tmp_path.iterdir()] == ["counter"]


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"), locked(str(tmp_path / "file" / "folder")):
        pass
