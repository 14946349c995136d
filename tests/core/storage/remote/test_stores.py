"""Object stores, each by a real server: the same functions as for local files, with the same outcome."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.core import storage
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage.local_copy import LocalCopy
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import check_output
from headrace.core.storage.remote import StoredObject, folders, store_of, uploads

Put = Callable[[str, bytes], str]


def test_bytes_and_json(store: str) -> None:
    uri = f"{store}/folder/a.json"
    assert not storage.exists(uri)
    storage.write_json(uri, {"x": 1})
    assert storage.exists(uri)
    assert storage.exists(f"{store}/folder")
    assert not storage.exists(f"{store}/fold")
    assert storage.read_json(uri) == {"x": 1}
    assert storage.size(uri) == len(storage.read_bytes(uri)) == 12
    storage.remove(f"{store}/folder")
    storage.remove(f"{store}/folder")
    assert not storage.exists(uri)
    with pytest.raises(DataError, match="the file does not exist"):
        storage.read_json(uri)


def test_a_file_to_read_is_seekable(put_object: Put) -> None:
    content = bytes(range(256)) * 1000
    with storage.open_input(put_object("x.bin", content)) as file:
        file.seek(-10, 2)
        assert file.read() == content[-10:]
        file.seek(5)
        assert file.read(3) == content[5:8]


def test_a_file_to_write_appears_whole_or_not_at_all(store: str, tmp_path: Path) -> None:
    for uri in (f"{store}/a/b.txt", str(tmp_path / "a" / "b.txt")):
        with pytest.raises(RuntimeError), storage.open_output(uri) as file:
            file.write(b"half")
            raise RuntimeError
        assert not storage.exists(uri)
        with storage.open_output(uri) as file:
            file.write(b"whole")
        assert storage.read_bytes(uri) == b"whole"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_folder_at_hand_is_a_copy_that_goes(put_object: Put, store: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("here")
    with storage.at_hand(str(tmp_path)) as folder:
        assert folder == tmp_path
    put_object("m/a.txt", b"1")
    put_object("m/deep/b.txt", b"2")
    put_object("m/deep/", b"")
    put_object("mm/c.txt", b"3")
    with storage.at_hand(f"{store}/m") as folder:
        found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        assert found == {"a.txt": b"1", "deep/b.txt": b"2"}
    assert not folder.exists()


def test_a_file_at_hand_is_a_copy_that_goes(
    put_object: Put, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("here")
    with storage.file_at_hand(str(tmp_path / "x")) as file:
        assert file == tmp_path / "x"
    uri = put_object("m/model.keras", b"1")
    with storage.file_at_hand(uri) as file:
        assert (file.name, file.read_bytes()) == ("model.keras", b"1")
    assert not file.exists()
    with pytest.raises(FileNotFoundError), storage.file_at_hand(f"{store}/m/other"):
        pass

    def full(uri: str, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(store_of(uri), "download", full)
    with pytest.raises(PlatformError, match="No space left"), storage.file_at_hand(uri):
        pass


@pytest.mark.parametrize("name", ["m/../../etc/passwd", "m//etc/passwd", "m/./a"])
def test_no_object_is_copied_out_of_the_folder(name: str) -> None:
    with pytest.raises(UsageError, match="not a path of a file"):
        folders.path_below("m/", StoredObject("gs://", "bucket", name, 1, ""))


def test_list_files(put_object: Put, store: str) -> None:
    for name in ("d/b.csv", "d/a.csv", "d/c.txt", "d/_SUCCESS.csv", "d/.hidden.csv", "d/deep/e.csv"):
        put_object(name, b"x")
    root = f"{store}/d"
    both = [f"{root}/a.csv", f"{root}/b.csv"]
    assert storage.list_files(f"{root}/c.txt", (".csv",)) == [f"{root}/c.txt"]
    assert storage.list_files(root, (".csv",)) == both
    assert storage.list_files(f"{root}/", (".csv",)) == both
    assert storage.list_files(f"{root}/*.csv", (".csv",)) == both
    assert storage.list_files(f"{root}/[ab].c?v", (".csv",)) == both
    assert storage.list_files(f"{store}/**/*.csv", (".csv",)) == [*both, f"{root}/deep/e.csv"]
    with pytest.raises(DataError, match="the folder holds no data file"):
        storage.list_files(root, (".parquet",))
    with pytest.raises(DataError, match="no file, folder or match of the pattern exists"):
        storage.list_files(f"{root}/nothing*", (".csv",))


def test_fingerprint_follows_content_and_reads_nothing(put_object: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    first = storage.fingerprint([put_object("a/rows.csv", b"1")])
    assert first == storage.fingerprint([put_object("b/rows.csv", b"1")])
    assert first != storage.fingerprint([put_object("a/rows.csv", b"2")])
    assert first != storage.fingerprint([put_object("a/other.csv", b"1")])


def test_publishing_replaces_what_was_there(store: str) -> None:
    target = f"{store}/out/examples"
    for name in ("first", "second"):
        with publishing(target, None) as folder:
            (folder / "train").mkdir()
            (folder / "train" / name).write_text(name)
            (folder / "manifest.json").write_text("{}")
        assert not folder.exists()
    names = [found.name for found in folders.below(f"{store}")]
    assert names == ["out/examples/manifest.json", "out/examples/train/second"]


def test_publishing_shows_nothing_when_it_fails(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"{store}/out"
    with pytest.raises(RuntimeError), publishing(target, None) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not folder.exists()

    uploaded = store_of(target).upload

    def fails_at_b(source: Path, uri: str) -> None:
        if uri.endswith("/b"):
            raise PlatformError("the network is gone", where=uri)
        uploaded(source, uri)

    monkeypatch.setattr(store_of(target), "upload", fails_at_b)
    with pytest.raises(PlatformError), publishing(target, None) as folder:
        for name in ("a", "b", "manifest.json"):
            (folder / name).write_text("x")
    assert folders.below(target) == []


def test_an_upload_that_fails_leaves_what_was_there(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"{store}/out"
    with publishing(target, None) as folder:
        (folder / "a").write_text("first")
        (folder / "manifest.json").write_text("{}")

    def fails(source: Path, uri: str) -> None:
        raise PlatformError("the network is gone", where=uri)

    monkeypatch.setattr(store_of(target), "upload", fails)
    with pytest.raises(PlatformError), publishing(target, None) as folder:
        (folder / "a").write_text("second")
        (folder / "manifest.json").write_text("{}")
    assert [found.name for found in folders.below(f"{store}")] == ["out/a", "out/manifest.json"]
    assert storage.read_bytes(f"{target}/a") == b"first"


def test_what_an_upload_that_was_killed_left_is_replaced(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"{store}/out"

    def killed(source: str, target: str) -> None:
        raise KeyboardInterrupt

    for content in ("first", "second"):
        with monkeypatch.context() as patch:
            patch.setattr(store_of(target), "copy", killed)
            with pytest.raises(KeyboardInterrupt), publishing(target, EXAMPLES) as folder:
                write_examples(folder, content)
        assert not storage.exists(f"{target}/manifest.json")
        mine = f"{target}/train/thesis.txt"
        storage.write_bytes(mine, b"years")
        with pytest.raises(UsageError, match=r"Received: also train/thesis\.txt\."):
            check_output(target, EXAMPLES)
        storage.remove(mine)
        with publishing(target, EXAMPLES) as folder:
            write_examples(folder, content)
        names = [found.name for found in folders.below(f"{store}")]
        assert names == ["out/manifest.json", "out/train/a"]
        assert storage.read_bytes(f"{target}/train/a") == content.encode()


def write_examples(folder: Path, content: str) -> None:
    (folder / "train").mkdir()
    (folder / "train" / "a").write_text(content)
    manifest = {"kind": "Examples", "splits": {"train": {"shards": [{"file": "train/a"}]}}}
    storage.write_json(str(folder / "manifest.json"), manifest)


@pytest.mark.parametrize(
    "name", ["thesis.txt", "train/thesis.txt", "train/deep/thesis.txt", "quarantine/corrected.csv"]
)
def test_a_file_of_the_users_in_any_folder_of_an_artifact_keeps_it(
    store: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = f"{store}/out"
    with publishing(target, EXAMPLES) as folder:
        write_examples(folder, "first")
    check_output(target, EXAMPLES)
    upload = store_of(target).upload

    def meanwhile(source: Path, uri: str) -> None:
        upload(source, uri)
        storage.write_bytes(f"{target}/{name}", b"years")

    # It comes while the new artifact is uploaded next to the old one.
    monkeypatch.setattr(store_of(target), "upload", meanwhile)
    with pytest.raises(UsageError, match=f"Received: also {name}"), publishing(target, EXAMPLES) as folder:
        write_examples(folder, "second")
    with pytest.raises(UsageError, match=f"Received: also {name}"):
        check_output(target, EXAMPLES)
    assert set(storage.files_below(store)) == {"out/manifest.json", "out/train/a", f"out/{name}"}
    assert storage.read_bytes(f"{target}/train/a") == b"first"
    assert storage.read_bytes(f"{target}/{name}") == b"years"


_KILLED = """
import os, signal, sys
from headrace.core.storage.output import publishing
from headrace.core.storage.remote import store_of

target = sys.argv[1]
store_of(target).copy = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with publishing(target, None) as folder:
    (folder / "train").mkdir()
    (folder / "train" / "half").write_text("half")
"""


def test_the_next_upload_removes_what_a_killed_process_left(store: str, put_object: Put) -> None:
    target = f"{store}/out"
    killed = subprocess.run([sys.executable, "-c", _KILLED, target], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = [found.name for found in folders.below(store) if ".uploading/" in found.name]
    assert left.endswith(".uploading/train/half")
    # Of this process, of another machine, and of others' folders with names like these.
    own = uploads.begin("out/")
    alive = [
        f"{own}a",
        f"{own.replace(own.split('.')[1][:16], '0' * 16)}a",
        f"out.v2/{'0' * 16}.uploading/a",
        f"output{own[3:]}a",
    ]
    for name in alive:
        put_object(name, b"x")
    with publishing(target, None) as folder:
        (folder / "manifest.json").write_text("{}")
    assert [found.name for found in folders.below(store)] == sorted([*alive, "out/manifest.json"])


def test_an_upload_that_wrote_nothing_for_a_day_is_given_up(
    store: str, put_object: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age is by the store's clock."""
    young, old = (f"out.{mark * 16}-1-1-{mark * 16}.uploading" for mark in "ab")
    for name in (f"{young}/1", f"{young}/2", f"{old}/1", f"{old}/2"):
        put_object(name, b"x")
    hours = {f"{young}/1": 30.0, f"{young}/2": 23.9, f"{old}/1": 30.0, f"{old}/2": 24.1}
    listed = store_of(store).list_objects

    def aged(uri: str, prefix: str, **options: Any) -> list[StoredObject]:
        return [
            dataclasses.replace(found, created=1e9 - 3600 * hours.get(found.name, 0.0))
            for found in listed(uri, prefix, **options)
        ]

    with monkeypatch.context() as patched:
        patched.setattr(store_of(store), "list_objects", aged)
        with publishing(f"{store}/out", None) as folder:
            (folder / "manifest.json").write_text("{}")
    assert [found.name for found in folders.below(store)] == [f"{young}/1", f"{young}/2", "out/manifest.json"]


def test_what_is_not_ours_is_neither_replaced_nor_removed(store: str, put_object: Put) -> None:
    put_object("mine/thesis.txt", b"years")
    put_object("model/manifest.json", b'{"kind": "Model"}')
    before = [found.uri for found in folders.below(f"{store}")]
    for name in ("mine", "model"):
        with pytest.raises(UsageError, match="the output already holds something else"):
            check_output(f"{store}/{name}", EXAMPLES)
        with (
            pytest.raises(UsageError, match="the output already holds something else"),
            publishing(f"{store}/{name}", EXAMPLES),
        ):
            pass
    for data in ("out/rows.csv", "out", "out/*.csv"):
        with pytest.raises(UsageError, match="the output equals or contains --data"):
            check_output(f"{store}/out", EXAMPLES, inputs={"--data": f"{store}/{data}"})
    check_output(f"{store}/out", EXAMPLES, inputs={"--data": f"{store}/outside"})
    assert [found.uri for found in folders.below(f"{store}")] == before


def test_a_large_object_and_names_of_any_kind(store: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * (34 << 12)
    (tmp_path / "large").write_bytes(content)
    store_of(store).upload(tmp_path / "large", f"{store}/in parts")
    storage.write_bytes(f"{store}/at once", content)
    for name in ("in parts", "at once"):
        assert storage.read_bytes(f"{store}/{name}") == content
        store_of(store).copy(f"{store}/{name}", f"{store}/copy of/{name}")
        store_of(store).download(f"{store}/copy of/{name}", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == content
        with storage.open_input(f"{store}/{name}") as file:
            file.seek((16 << 20) + 5)
            assert file.read(300) == content[5:305]
    storage.remove(f"{store}/copy of")
    names = ["a b/\N{GREEK SMALL LETTER PI}", "a%2Fb", "a+b&c=d", "x#y?z", "~tilde'quote\"", "\N{PILE OF POO}<&>"]
    for name in names:
        storage.write_bytes(f"{store}/names/{name}", name.encode())
    found = storage.files_below(f"{store}/names")
    assert sorted(found) == sorted(names)
    assert [storage.read_bytes(uri).decode() for uri in found.values()] == list(found)
    storage.remove(f"{store}/names")
    assert sorted(storage.files_below(store)) == ["at once", "in parts"]


def test_a_local_copy_lives_as_long_as_its_object(store: str, put_object: Put) -> None:
    put_object("m/deep/b.txt", b"2")
    copy = LocalCopy(f"{store}/m")
    path = Path(copy.path)
    assert (path / "deep" / "b.txt").read_bytes() == b"2"
    del copy
    assert not path.exists()
    with pytest.raises(DataError, match="the folder is empty or does not exist"):
        LocalCopy(f"{store}/nothing")


def test_a_move_replaces_its_target(store: str, put_object: Put) -> None:
    storage.move(put_object("a", b"new"), put_object("b", b"old"))
    assert storage.read_bytes(f"{store}/b") == b"new"
    assert not storage.exists(f"{store}/a")
    with pytest.raises(PlatformError):
        storage.move(f"{store}/a", f"{store}/b")


def test_a_bucket_that_is_not_there(store: str) -> None:
    nowhere = f"{store[:5]}headrace-nowhere"
    missing = f"{nowhere}/x"
    for act in (
        lambda: storage.read_bytes(missing),
        lambda: storage.list_files(f"{nowhere}/*.csv", (".csv",)),
        lambda: storage.write_bytes(missing, b"x"),
    ):
        with pytest.raises(UsageError, match="the bucket does not exist"):
            act()
