"""Whether a file is still being written, by what the operating system knows."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from headrace.pipelines.triggers.finished import is_being_written

leases = pytest.mark.skipif(not Path("/proc/sys/fs/leases-enable").exists(), reason="only Linux has leases of files")


@leases
def test_a_file_is_being_written_while_any_process_has_it_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w"):
        assert is_being_written(str(path)) is True
    assert is_being_written(str(path)) is False
    with path.open():
        assert is_being_written(str(path)) is False
    writer = subprocess.Popen(["sh", "-c", f"exec 3>>'{path}'; echo; read -r _"], stdin=-1, stdout=-1)
    assert writer.stdout is not None
    writer.stdout.read(1)
    assert is_being_written(str(path)) is True
    writer.communicate(b"\n")
    assert is_being_written(str(path)) is False


@leases
def test_a_writer_that_opens_the_file_meanwhile_is_not_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("")
    loop = f"while :; do echo 1 >> '{path}' || exit 1; done"
    writer = subprocess.Popen(["sh", "-c", loop])
    seen = {is_being_written(str(path)) for _ in range(2000)}
    assert writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert seen <= {True, False}


def test_a_file_that_cannot_be_opened_is_not_known(tmp_path: Path) -> None:
    assert is_being_written(str(tmp_path / "nothing")) is None
    os.mkfifo(tmp_path / "pipe")
    assert is_being_written(str(tmp_path / "pipe")) in (None, False)
