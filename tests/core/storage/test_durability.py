"""What has its final name survives a loss of power: its content is flushed before the rename, and its folder after."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.disk import Disk

from headrace.core import storage
from headrace.core.errors import PlatformError
from headrace.core.storage.compare_and_set import create_if_absent, update_json
from headrace.core.storage.edit_folder import exclusive, swapping
from headrace.core.storage.output import publishing


def _folder(path: Path) -> None:
    with publishing(str(path), None) as folder:
        (folder / "train").mkdir()
        (folder / "train" / "shard").write_text("rows")
        (folder / "train" / "link").symlink_to("shard")
        (folder / "empty").mkdir()
        (folder / "manifest.json").write_text("{}")


def _again(path: Path) -> None:
    _folder(path)
    _folder(path)


def _edited(path: Path) -> None:
    with exclusive(str(path)) as folder:
        for name in ("one", "two"):
            with swapping(folder, None) as copy:
                (copy / name).write_text("x")


def _opened(path: Path) -> None:
    with storage.open_output(str(path)) as file:
        file.write(b"content")


def _updated(path: Path) -> None:
    assert create_if_absent(str(path), b"{}")
    update_json(str(path), lambda now: {**now, "count": 1})


@pytest.mark.parametrize(
    ("write", "times"),
    [
        (_folder, 1),
        (_again, 2),
        (_edited, 2),
        (_opened, 1),
        (lambda path: storage.write_bytes(str(path), b"content"), 1),
        (_updated, 2),
    ],
    ids=["a folder", "a folder again", "an edited folder", "a stream", "bytes", "a compare-and-set"],
)
def test_no_content_is_lost_and_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], times: int
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    disk = Disk(monkeypatch)
    write(tmp_path / "link" / "out")
    assert [path.name for path in disk.published] == ["out"] * times
    assert disk.lost == []
    assert disk.unflushed == set()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS])
def test_a_file_system_that_cannot_flush_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuses)
    _again(tmp_path / "out")
    assert (tmp_path / "out" / "train" / "shard").read_text() == "rows"


def test_a_disk_that_fails_while_it_is_flushed_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    for write in (_folder, _opened):
        with pytest.raises(PlatformError, match="the path cannot be written"):
            write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
