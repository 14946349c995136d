"""Spans as they are listed, on a disk and on an object store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.core.errors import UsageError
from headrace.pipelines.triggers.span import list_spans, span_of


def test_folders_and_files_are_spans_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in (
        "2026-11-21/b.csv",
        "2026-11-21/a.csv",
        "2026-11-21/_SUCCESS",
        "2026-11-21/origin=JFK/c.csv",
        "2026-11-20.csv.gz",
        "2026-11-19",
        "_staging/a.csv",
        ".hidden.csv",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nothing")
    first, second, third = list_spans(str(tmp_path))
    assert (first.name, first.folder, first.data_files) == ("2026-11-19", False, ("2026-11-19",))
    assert (second.name, second.folder, second.data) == ("2026-11-20", False, f"{tmp_path}/2026-11-20.csv.gz")
    assert (third.name, third.folder, third.data) == ("2026-11-21", True, f"{tmp_path}/2026-11-21")
    assert third.data_files == ("a.csv", "b.csv", "origin=JFK/c.csv")
    assert sorted(third.files) == ["_SUCCESS", "a.csv", "b.csv", "origin=JFK/c.csv"]


def test_a_signature_changes_with_every_file(tmp_path: Path) -> None:
    day = tmp_path / "day"
    day.mkdir()
    signatures = []

    def look() -> None:
        signatures.append(list_spans(str(tmp_path))[0].signature)

    (day / "a.csv").write_bytes(b"1")
    look()
    (day / "b.csv").write_bytes(b"1")
    look()
    (day / "b.csv").write_bytes(b"12")
    look()
    # The same size and time, as a program that keeps times leaves them.
    found = (day / "a.csv").stat()
    (day / "new").write_bytes(b"2")
    os.utime(day / "new", ns=(found.st_atime_ns, found.st_mtime_ns))
    (day / "new").replace(day / "a.csv")
    look()
    (day / "b.csv").unlink()
    look()
    assert len(set(signatures)) == 5
    look()
    assert signatures[-1] == signatures[-2]


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder cannot be read"):
        list_spans(str(tmp_path / "nothing"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="the folder cannot be read"):
        list_spans(str(tmp_path / "file"))


def test_objects_are_spans(bucket: str, put: Callable[[str, bytes], str]) -> None:
    put("in/2026-11-21/a.csv", b"1")
    put("in/2026-11-21/_SUCCESS", b"")
    put("in/2026-11-20.csv", b"1")
    put("in/2026-11-20.csv.old/a.csv", b"1")
    put("in/", b"")
    put("in/_log/a.csv", b"1")
    put("other/a.csv", b"1")
    folder = f"gs://{bucket}/in"
    alone, old, whole = list_spans(folder)
    assert (alone.name, alone.data, alone.folder) == ("2026-11-20", f"{folder}/2026-11-20.csv", False)
    assert (old.name, old.folder) == ("2026-11-20.csv.old", True)
    assert (whole.name, whole.data, whole.data_files) == ("2026-11-21", f"{folder}/2026-11-21", ("a.csv",))
    assert whole.files["_SUCCESS"].changed >= whole.files["a.csv"].changed > 1e9
    assert span_of(folder, f"{folder}/2026-11-21/a.csv") == whole
    assert span_of(f"{folder}/", f"{folder}/2026-11-20.csv") == alone
    for other in (f"gs://{bucket}/other/a.csv", f"{folder}/_log/a.csv", f"{folder}/", f"gs://{bucket}/inner/a.csv"):
        assert span_of(folder, other) is None
