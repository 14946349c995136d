"""Shard files on this machine: as they are, through a mount, or copied."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.core.artifacts import shard_files
from headrace.core.artifacts.shard_files import ShardFiles


def test_local_files_stay_where_they_are(tmp_path: Path) -> None:
    assert ShardFiles(str(tmp_path), ["a"]).folder == tmp_path
    assert ShardFiles(f"file://{tmp_path}", ["a"]).folder == tmp_path


def test_a_mounted_bucket_is_read_through_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "_MOUNTS", tmp_path)
    monkeypatch.setattr(
        shard_files, "mounted_bucket", lambda path: "fuse.gcsfuse" if tmp_path in path.parents else None
    )
    assert ShardFiles("gs://bucket/spans", ["a"]).folder == tmp_path / "bucket" / "spans"


def test_objects_are_copied_for_as_long_as_they_are_needed(put: Callable[[str, bytes], str]) -> None:
    content = bytes(range(256)) * 50
    put("spans/1/train/a", content)
    uri = put("spans/2/b", b"b").removesuffix("/2/b")
    found = ShardFiles(uri, ["1/train/a", "2/b", "2/gone"])
    folder = found.folder
    assert (folder / "1" / "train" / "a").read_bytes() == content
    assert (folder / "2" / "b").read_bytes() == b"b"
    assert not (folder / "2" / "gone").exists()
    del found
    gc.collect()
    assert not folder.exists()
