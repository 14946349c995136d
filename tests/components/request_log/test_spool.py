"""Spool: complete files alone have a final name, within bounds, also after a kill and on a full disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from support.disk import Disk

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.parquet import convert
from headrace.components.request_log.read import read_batches
from headrace.components.request_log.spool import Spool, complete_files, recover
from headrace.core import storage
from headrace.core.errors import DataError, PlatformError, UnreadableFile, UsageError


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def batch(value: float, version: str = "v1", time: float = 1.0) -> LoggedBatch:
    return LoggedBatch({"x": np.array([value])}, {"p": np.array([2 * value])}, version, time)


def values(folder: Path, **selected: object) -> list[float]:
    return [float(each.columns["x"][0]) for each in read_batches(str(folder), **selected)]  # type: ignore[arg-type]


def test_a_bucket_gets_each_complete_file_and_again_what_it_did_not_accept(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, line = Clock(), batch(1.0).to_line()
    log = f"{store}/log"
    spool = Spool(RequestLogConfig(log, file_bytes=len(line)), clock, clock)
    assert list(read_batches(log)) == []
    spool.write(line)
    assert [float(each.columns["x"][0]) for each in read_batches(log)] == [1.0]

    def down(uri: str, content: bytes) -> None:
        raise PlatformError("the store did not respond", where=uri)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", down)
        for value in (2.0, 3.0):
            clock.now += 1
            spool.write(batch(value).to_line())
    assert caplog.text.count("the request log cannot be uploaded, and is tried again") == 1
    clock.now += 1
    spool.write(batch(4.0).to_line())
    assert [float(each.columns["x"][0]) for each in read_batches(log)] == [1.0, 2.0, 3.0, 4.0]
    clock.now += 1
    spool.close()
    assert not spool._folder.exists()


def test_what_a_bucket_did_not_accept_is_uploaded_without_further_requests(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, line = Clock(), batch(1.0).to_line()
    log = f"{store}/log"
    spool = Spool(RequestLogConfig(log, file_bytes=len(line), file_s=10.0), clock, clock)
    calls: list[str] = []

    def down(uri: str, content: bytes) -> None:
        calls.append(uri)
        raise PlatformError("the store did not respond", where=uri)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", down)
        spool.write(line)
        clock.now += 9.9
        spool.rotate_old()
        assert len(calls) == 1
        clock.now += 0.1
        spool.rotate_old()
        assert len(calls) == 2
    clock.now += 10
    spool.rotate_old()
    assert [float(each.columns["x"][0]) for each in read_batches(log)] == [1.0]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", down)
        spool.write(batch(2.0).to_line())
    spool.close()
    assert [float(each.columns["x"][0]) for each in read_batches(log)] == [1.0, 2.0]
    assert not spool._folder.exists()


def test_a_file_is_complete_by_size_by_age_and_at_the_end(tmp_path: Path) -> None:
    clock, line = Clock(), batch(1.0).to_line()
    spool = Spool(RequestLogConfig(str(tmp_path / "log"), file_bytes=2 * len(line), file_s=10.0), clock, clock)
    spool.rotate()
    spool.write(line)
    assert values(tmp_path / "log") == []
    spool.write(batch(2.0).to_line())
    assert values(tmp_path / "log") == [1.0, 2.0]
    clock.now += 1
    spool.write(batch(3.0).to_line())
    clock.now += 9.9
    spool.rotate_old()
    assert len(complete_files(tmp_path / "log")) == 1
    clock.now += 0.1
    spool.rotate_old()
    assert values(tmp_path / "log") == [1.0, 2.0, 3.0]
    spool.write(batch(4.0).to_line())
    spool.rotate()
    assert values(tmp_path / "log") == [1.0, 2.0, 3.0, 4.0]
    assert [path for path in (tmp_path / "log").iterdir() if path.name.startswith(".")] == []


class Log:
    """A request log, each of whose files has one line, and the time of a clock that a test sets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **bounds: float) -> None:
        self.folder = folder
        self.clock = Clock()
        self.config = RequestLogConfig(str(folder), file_bytes=1, maximum_age_s=70.0, **bounds)  # type: ignore[arg-type]
        self.spool = Spool(self.config, self.clock)
        self._written = 0.0
        publish = storage.publish

        def publish_now(temporary: Path, path: Path) -> None:
            """As the system would by the clock of the test."""
            publish(temporary, path)
            os.utime(path, (self.clock.now, self.clock.now))

        monkeypatch.setattr(storage, "publish", publish_now)

    def write(self, number: int, every_s: float = 10.0) -> None:
        """Writes 1.0, 2.0 and so on, each some seconds after the last."""
        for _ in range(number):
            self.clock.now += every_s
            self._written += 1
            self.spool.write(batch(self._written).to_line())

    def restart(self) -> None:
        """Another process opens the log."""
        self.spool = Spool(self.config, self.clock)

    @property
    def rows(self) -> list[float]:
        """What the log has, in its order."""
        return values(self.folder)


def test_the_oldest_files_are_removed_beyond_the_size_and_the_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "size", monkeypatch, folder_bytes=3 * len(batch(1.0).to_line()) + 9)
    log.write(5)
    assert log.rows == [3.0, 4.0, 5.0]
    log = Log(tmp_path / "age", monkeypatch)
    log.write(8)
    assert log.rows == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    log.write(1)
    assert log.rows == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    log.clock.now += 0.5
    log.restart()
    assert log.rows == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


@pytest.mark.parametrize("step_s", [80.0, 1e9])
def test_a_clock_that_jumps_ahead_removes_no_more_than_a_day_of_a_week_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    log = Log(tmp_path, monkeypatch)
    log.write(7)
    log.clock.now += step_s
    for _ in range(3):
        log.restart()
        assert log.rows == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    log.write(1)
    assert log.rows == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    log.write(1)
    log.restart()
    assert log.rows == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    # It is set right again: what was written meanwhile is not from the future for ever.
    log.clock.now -= step_s
    log.write(2)
    assert log.rows == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    log.write(7)
    assert log.rows == [11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0]


@pytest.mark.parametrize("step_s", [5.0, 80.0, 1e9])
def test_a_clock_that_is_set_back_changes_neither_the_order_nor_what_is_removed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    log = Log(tmp_path, monkeypatch)
    log.write(7)
    log.clock.now -= step_s
    log.restart()
    assert log.rows == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    log.write(1)
    log.restart()
    log.write(1)
    assert log.rows[-8:] == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    log.write(10)
    assert log.rows == [12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0]


def test_files_of_several_writers_that_end_in_another_order_are_not_older_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path, monkeypatch)
    for number in range(40):
        path = tmp_path / f"requests-20231114T2213{number:02d}000000Z-host-1-a-{number}.jsonl"
        path.write_bytes(b"")
        # Begun one second apart; every other one ends 5 s after it is begun, the others at once.
        os.utime(path, (log.clock.now + number + number % 2 * 5,) * 2)
    log.clock.now += 44
    log.restart()
    assert len(complete_files(tmp_path)) == 40


def test_a_file_is_complete_after_its_time_whatever_the_clock_says(tmp_path: Path) -> None:
    clock, timer = Clock(), Clock()
    spool = Spool(RequestLogConfig(str(tmp_path), file_s=10.0), clock, timer)
    for number, step_s in enumerate((-3600.0, 3600.0 * 24, 0.0), 1):
        spool.write(batch(float(number)).to_line())
        clock.now += step_s
        timer.now += 9.9
        spool.rotate_old()
        assert len(complete_files(tmp_path)) == number - 1
        timer.now += 0.1
        spool.rotate_old()
        assert values(tmp_path) == [float(n + 1) for n in range(number)]


def test_a_full_disk_loses_the_line_that_it_cannot_hold_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(RequestLogConfig(str(tmp_path)))
    spool.write(batch(1.0).to_line())

    class Full(FileIO):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            return super().write(content[:7])

    file = spool._file
    assert file is not None
    with file:
        monkeypatch.setattr(spool, "_file", Full(os.dup(file.fileno()), "r+b"))
        with pytest.raises(OSError, match="No space left") as raised:
            spool.write(batch(2.0).to_line())
    assert raised.value.errno == errno.ENOSPC
    spool.write(batch(3.0).to_line())
    spool.rotate()
    assert values(tmp_path) == [1.0, 3.0]


def test_the_file_of_a_killed_writer_is_completed_without_its_last_half_line(tmp_path: Path) -> None:
    program = f"""
import os, signal
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.spool import Spool
spool = Spool(RequestLogConfig({str(tmp_path)!r}))
spool.write({batch(1.0).to_line()!r})
spool.write({batch(2.0).to_line()[:-9]!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert values(tmp_path) == []
    alive = Spool(RequestLogConfig(str(tmp_path)))
    assert values(tmp_path) == [1.0]
    # A writer that lives keeps its file, and one without a whole line leaves none.
    alive.write(batch(3.0).to_line())
    (tmp_path / ".requests-0.jsonl").write_bytes(b"{")
    recover(tmp_path)
    assert values(tmp_path) == [1.0]
    assert len(list(tmp_path.iterdir())) == 2
    alive.rotate()
    assert values(tmp_path) == [1.0, 3.0]


def test_batches_are_selected_by_version_and_time_and_a_missing_folder_has_none(tmp_path: Path) -> None:
    spool = Spool(RequestLogConfig(str(tmp_path)))
    for number, version in enumerate(["v1", "v2", "v1"]):
        spool.write(batch(float(number), version, float(number)).to_line())
    spool.rotate()
    assert values(tmp_path, version="v1") == [0.0, 2.0]
    assert values(tmp_path, since=1.0) == [1.0, 2.0]
    assert values(tmp_path / "missing") == []
    convert(RequestLogConfig(str(tmp_path)))
    assert [path.suffix for path in complete_files(tmp_path)] == [".parquet", ".parquet"]
    assert values(tmp_path, version="v1", since=1.0) == [2.0]


def test_a_conversion_that_was_killed_is_repeated_and_no_row_is_there_twice(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"requests-{number}.jsonl").write_bytes(batch(float(number)).to_line())
    kept = (tmp_path / "requests-1.jsonl").read_bytes()
    assert [path.name for path in convert(RequestLogConfig(str(tmp_path)))] == [
        "requests-0.0.parquet",
        "requests-1.0.parquet",
    ]
    # As if it had been killed before the spooled file was removed, and in the middle of writing.
    (tmp_path / "requests-1.jsonl").write_bytes(kept)
    (tmp_path / ".requests-1.0.parquet.0123456789abcdef").write_bytes(b"half")
    assert values(tmp_path) == [0.0, 1.0]
    convert(RequestLogConfig(str(tmp_path)))
    assert values(tmp_path) == [0.0, 1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "requests-0.0.parquet",
        "requests-1.0.parquet",
    ]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "requests-0.jsonl").write_bytes(batch(1.0).to_line() + b"{}\n")
    with pytest.raises(DataError, match=r"requests-0.jsonl, line 2: a line of the request log is damaged"):
        values(tmp_path)
    (tmp_path / "requests-0.jsonl").unlink()
    (tmp_path / "requests-0.0.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnreadableFile, match=r"requests-0.0.parquet: a file of the request log is damaged"):
        values(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="the path cannot be written"):
        Spool(RequestLogConfig(str(tmp_path / "file")))


def test_no_row_is_lost_with_the_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete file is on the disk before it has its name: as lines, after its writer has died, and as Parquet."""
    config = RequestLogConfig(str(tmp_path / "log"))
    disk = Disk(monkeypatch)
    spool = Spool(config)
    spool.write(batch(1.0).to_line())
    spool.rotate()
    spool.write(batch(2.0).to_line())
    assert spool._file is not None
    spool._file.close()
    recover(tmp_path / "log")
    assert [path.suffix for path in disk.published] == [".jsonl"] * 2
    assert len(convert(config)) == 2
    assert [path.suffix for path in disk.published] == [".jsonl"] * 2 + [".parquet"] * 2
    assert (disk.lost, disk.unflushed) == ([], set())
    assert values(tmp_path / "log") == [1.0, 2.0]
