"""Files appear whole or not at all, and bad paths are one paragraph."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core import storage
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.storage.edit_folder import swapping
from headrace.core.storage.output import publishing


def test_a_file_appears_whole(tmp_path: Path) -> None:
    uri = str(tmp_path / "a" / "b.json")
    storage.write_json(uri, {"x": [1, None]})
    assert storage.read_json(uri) == {"x": [1, None]}
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["b.json"]


def test_json_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(str(tmp_path / "x.json"), float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_file_uris_are_local_and_other_schemes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("y")
    assert storage.read_bytes(f"file://{tmp_path}/x") == b"y"
    with pytest.raises(UsageError, match="minio:// is not supported"):
        storage.read_bytes("minio://bucket/x")
    with pytest.raises(UsageError, match="a path on this machine is required"):
        storage.local_path("gs://bucket/x")
    with pytest.raises(UsageError, match="empty"):
        storage.local_path("")


def test_list_files_of_a_file_a_folder_and_a_pattern(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt", "_SUCCESS.csv", ".hidden.csv"):
        (tmp_path / name).write_text("x")
    assert storage.list_files(str(tmp_path / "c.txt"), (".csv",)) == [str(tmp_path / "c.txt")]
    both = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert storage.list_files(str(tmp_path), (".csv",)) == both
    assert storage.list_files(str(tmp_path / "*"), (".csv",)) == both
    with pytest.raises(DataError, match="the folder holds no data file"):
        storage.list_files(str(tmp_path), (".parquet",))
    with pytest.raises(DataError, match="no file, folder or match of the pattern exists"):
        storage.list_files(str(tmp_path / "nowhere*"), (".csv",))


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xffa.csv")
    (tmp_path / name).write_text("x")
    for uri in (tmp_path, tmp_path / "*.csv", tmp_path / name):
        with pytest.raises(DataError, match=r"\\xffa\.csv: the name of a file is not UTF-8.*Rename") as error:
            storage.list_files(str(uri), (".csv",))
        str(error.value).encode()
    # What is no data file is not read.
    (tmp_path / name).rename(tmp_path / os.fsdecode(b"\xffa.txt"))
    (tmp_path / "b.csv").write_text("x")
    assert storage.list_files(str(tmp_path), (".csv",)) == [str(tmp_path / "b.csv")]


def test_a_place_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        storage.write_bytes(str(tmp_path / "file" / "below"), b"x")
    with pytest.raises(UsageError, match="cannot be written"), publishing(str(tmp_path / "file" / "below"), None):
        pass


def test_a_full_disk_is_the_platforms(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="cannot be written"), storage.writing("/dev/full"):
        # /dev/full answers every write as a full disk does.
        handle = os.open("/dev/full", os.O_WRONLY)
        try:
            os.write(handle, b"x")
        finally:
            os.close(handle)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_fingerprint_follows_content(tmp_path_factory: pytest.TempPathFactory, first: bytes, second: bytes) -> None:
    folder = tmp_path_factory.mktemp("f")
    for name, content in (("1", first), ("2", second)):
        (folder / name).mkdir()
        (folder / name / "rows.csv").write_bytes(content)
    one, two = (storage.fingerprint([str(folder / name / "rows.csv")]) for name in ("1", "2"))
    assert (one == two) == (first == second)


def test_missing_or_broken_json_is_one_paragraph(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file does not exist"):
        storage.read_json(str(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match="is not valid JSON"):
        storage.read_json(str(tmp_path / "x.json"))


def test_an_artifact_is_written_where_it_can_be_published(tmp_path: Path) -> None:
    class Artifact:
        path = "/gcs/bucket/run/model"
        uri: str | None = "gs://bucket/run/model"

    assert storage.place_of(Artifact()) == "gs://bucket/run/model"
    # Kubeflow's engine uploads the path with credentials of its own; workers elsewhere have some.
    on_s3 = Artifact()
    on_s3.uri, on_s3.path = "s3://bucket/run/model", "/s3/bucket/run/model"
    assert storage.place_of(on_s3) == "/s3/bucket/run/model"
    assert storage.place_of(on_s3, shared=True) == "s3://bucket/run/model"
    for other in (str(tmp_path), "minio://bucket/run/model", "", None):
        artifact = Artifact()
        artifact.uri = other
        assert storage.place_of(artifact) == "/gcs/bucket/run/model"


def test_new_files_and_folders_have_the_permissions_of_any_others_and_the_umask_is_never_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        # It belongs to all threads: a file that another one makes meanwhile would be open to everybody.
        monkeypatch.setattr(os, "umask", None)
        storage.write_bytes(str(tmp_path / "file"), b"x")
        with storage.open_output(str(tmp_path / "large")) as file:
            file.write(b"x")
        with publishing(str(tmp_path / "folder"), None) as folder:
            (folder / "inside").write_text("x")
        with swapping(tmp_path / "edited", None) as folder:
            (folder / "inside").write_text("x")
        with swapping(tmp_path / "edited", None) as folder:
            (folder / "more").write_text("x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    folders = {"folder": 0o750, "edited": 0o750}
    inside = ("file", "large", "folder/inside", "edited/inside", "edited/more")
    assert modes == {**folders, **dict.fromkeys(inside, 0o640)}


@pytest.mark.parametrize(
    ("errors", "kind", "received"),
    [
        (
            [("a", "b/x", "[Errno 28] No space left on device")],
            PlatformError,
            "[Errno 28] No space left on device: 'b/x'",
        ),
        ([("a", "b/x", "[Errno 13] Permission denied: 'b'")], UsageError, "[Errno 13] Permission denied: 'b/x'"),
        ([("a", "b/x", "odd")], PlatformError, "odd: b/x"),
        ("`a` is a named pipe", PlatformError, "`a` is a named pipe"),
    ],
)
def test_an_error_of_a_copied_folder_keeps_its_path_and_its_cause(
    errors: Any, kind: type[HeadraceError], received: str
) -> None:
    with pytest.raises(kind) as raised, storage.writing("b"):
        raise shutil.Error(errors)
    assert (type(raised.value), raised.value.where, raised.value.received) == (kind, "b", received)
