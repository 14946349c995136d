"""Announcements of servers: which of several was started last."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.components.serve.processes import Announcement, newest


def announced(folder: Path, pid: int, started: str, *, at: float) -> Announcement:
    """An announcement whose file was written at a time, in seconds since the epoch."""
    path = folder / f"{pid}.json"
    path.write_text("{}")
    os.utime(path, (at, at))
    return Announcement(pid, started, "v1", f"http://127.0.0.1:{pid}")


def test_a_clock_that_is_set_back_an_hour_between_two_starts(tmp_path: Path) -> None:
    first = announced(tmp_path, 12, "99000", at=1_800_003_600.0)
    second = announced(tmp_path, 11, "100200", at=1_800_000_000.0)
    assert newest(str(tmp_path), [first, second]) == newest(str(tmp_path), [second, first]) == second
    assert newest(str(tmp_path), []) is None


def test_without_ticks_the_time_of_the_file_decides(tmp_path: Path) -> None:
    first = announced(tmp_path, 12, "Sun Nov 29 10:00:00 2026", at=1_800_000_000.0)
    second = announced(tmp_path, 11, "Sat Nov 28 10:00:00 2026", at=1_800_000_001.0)
    gone = Announcement(13, "Sun Nov 29 11:00:00 2026", "v1", None)
    assert newest(str(tmp_path), [second, gone, first]) == second
