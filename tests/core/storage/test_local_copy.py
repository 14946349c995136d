"""Folders of a bucket on this machine's disk, as long as they are needed."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.storage.local_copy import LocalCopy


def test_a_folder_that_is_here_is_itself(tmp_path: Path) -> None:
    copy = LocalCopy(str(tmp_path))
    assert copy.path == str(tmp_path)
    del copy
    gc.collect()
    assert tmp_path.exists()


def test_a_folder_of_a_bucket_is_copied_and_removed(bucket: str) -> None:
    for name in ("saved_model.pb", "variables/variables.index", "assets/deep/words.txt"):
        storage.write_bytes(f"gs://{bucket}/m/{name}", name.encode())
    storage.write_bytes(f"gs://{bucket}/model/other", b"a name that only begins alike")
    copy = LocalCopy(f"gs://{bucket}/m")
    folder = Path(copy.path)
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == {name: name for name in ("saved_model.pb", "variables/variables.index", "assets/deep/words.txt")}
    del copy
    gc.collect()
    assert not folder.exists()


def test_nothing_there(bucket: str) -> None:
    with pytest.raises(DataError, match="the folder is empty or does not exist"):
        LocalCopy(f"gs://{bucket}/gone")
