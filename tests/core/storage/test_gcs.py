"""gs:// on a real server: the same functions as for local files, and one paragraph for what is wrong."""

from __future__ import annotations

import gc
import http.server
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.core import storage
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage import gcs
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import check_output

Put = Callable[[str, bytes], str]


def test_bytes_and_json(bucket: str) -> None:
    uri = f"gs://{bucket}/folder/a.json"
    assert not storage.exists(uri)
    storage.write_json(uri, {"x": 1})
    assert storage.exists(uri)
    assert storage.exists(f"gs://{bucket}/folder")
    assert not storage.exists(f"gs://{bucket}/fold")
    assert storage.read_json(uri) == {"x": 1}
    assert storage.size(uri) == len(storage.read_bytes(uri)) == 12
    storage.remove(f"gs://{bucket}/folder")
    storage.remove(f"gs://{bucket}/folder")
    assert not storage.exists(uri)
    with pytest.raises(DataError, match="the file does not exist"):
        storage.read_json(uri)


def test_a_file_to_read_is_seekable(put: Put) -> None:
    content = bytes(range(256)) * 1000
    with storage.open_input(put("x.bin", content)) as file:
        file.seek(-10, 2)
        assert file.read() == content[-10:]
        file.seek(5)
        assert file.read(3) == content[5:8]


def test_a_file_to_write_appears_whole_or_not_at_all(bucket: str, tmp_path: Path) -> None:
    for uri in (f"gs://{bucket}/a/b.txt", str(tmp_path / "a" / "b.txt")):
        with pytest.raises(RuntimeError), storage.open_output(uri) as file:
            file.write(b"half")
            raise RuntimeError
        assert not storage.exists(uri)
        with storage.open_output(uri) as file:
            file.write(b"whole")
        assert storage.read_bytes(uri) == b"whole"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_folder_at_hand_is_a_copy_that_goes(put: Put, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("here")
    with storage.at_hand(str(tmp_path)) as folder:
        assert folder == tmp_path
    put("m/a.txt", b"1")
    put("m/deep/b.txt", b"2")
    put("m/deep/", b"")
    put("mm/c.txt", b"3")
    with storage.at_hand(f"gs://{bucket}/m") as folder:
        found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        assert found == {"a.txt": b"1", "deep/b.txt": b"2"}
    assert not folder.exists()


@pytest.mark.parametrize("name", ["m/../../etc/passwd", "m//etc/passwd", "m/./a"])
def test_no_object_is_copied_out_of_the_folder(name: str) -> None:
    with pytest.raises(UsageError, match="not a path of a file"):
        gcs.path_below("m/", gcs.Object("bucket", name, 1, ""))


def test_list_files(put: Put, bucket: str) -> None:
    for name in ("d/b.csv", "d/a.csv", "d/c.txt", "d/_SUCCESS.csv", "d/.hidden.csv", "d/deep/e.csv"):
        put(name, b"x")
    root = f"gs://{bucket}/d"
    both = [f"{root}/a.csv", f"{root}/b.csv"]
    assert storage.list_files(f"{root}/c.txt", (".csv",)) == [f"{root}/c.txt"]
    assert storage.list_files(root, (".csv",)) == both
    assert storage.list_files(f"{root}/", (".csv",)) == both
    assert storage.list_files(f"{root}/*.csv", (".csv",)) == both
    assert storage.list_files(f"{root}/[ab].c?v", (".csv",)) == both
    assert storage.list_files(f"gs://{bucket}/**/*.csv", (".csv",)) == [*both, f"{root}/deep/e.csv"]
    with pytest.raises(DataError, match="the folder holds no data file"):
        storage.list_files(root, (".parquet",))
    with pytest.raises(DataError, match="no file, folder or match of the pattern exists"):
        storage.list_files(f"{root}/nothing*", (".csv",))


def test_fingerprint_follows_content_and_reads_nothing(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    first = storage.fingerprint([put("a/rows.csv", b"1")])
    assert first == storage.fingerprint([put("b/rows.csv", b"1")])
    assert first != storage.fingerprint([put("a/rows.csv", b"2")])
    assert first != storage.fingerprint([put("a/other.csv", b"1")])


def test_publishing_replaces_what_was_there(bucket: str) -> None:
    target = f"gs://{bucket}/out/examples"
    for name in ("first", "second"):
        with publishing(target, None) as folder:
            (folder / "train").mkdir()
            (folder / "train" / name).write_text(name)
            (folder / "manifest.json").write_text("{}")
        assert not folder.exists()
    names = [found.name for found in gcs.below(f"gs://{bucket}")]
    assert names == ["out/examples/manifest.json", "out/examples/train/second"]


def test_publishing_shows_nothing_when_it_fails(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"gs://{bucket}/out"
    with pytest.raises(RuntimeError), publishing(target, None) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not folder.exists()

    uploaded = gcs.upload

    def fails_at_b(source: Path, uri: str) -> None:
        if uri.endswith("/b"):
            raise PlatformError("the network is gone", where=uri)
        uploaded(source, uri)

    monkeypatch.setattr(gcs, "upload", fails_at_b)
    with pytest.raises(PlatformError), publishing(target, None) as folder:
        for name in ("a", "b", "manifest.json"):
            (folder / name).write_text("x")
    assert gcs.below(target) == []


def test_an_upload_that_fails_leaves_what_was_there(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"gs://{bucket}/out"
    with publishing(target, None) as folder:
        (folder / "a").write_text("first")
        (folder / "manifest.json").write_text("{}")

    def fails(source: Path, uri: str) -> None:
        raise PlatformError("the network is gone", where=uri)

    monkeypatch.setattr(gcs, "upload", fails)
    with pytest.raises(PlatformError), publishing(target, None) as folder:
        (folder / "a").write_text("second")
        (folder / "manifest.json").write_text("{}")
    assert [found.name for found in gcs.below(f"gs://{bucket}")] == ["out/a", "out/manifest.json"]
    assert storage.read_bytes(f"{target}/a") == b"first"


def test_what_an_upload_that_was_killed_left_is_replaced(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"gs://{bucket}/out"

    def killed(source: str, target: str) -> None:
        raise KeyboardInterrupt

    for content in ("first", "second"):
        with monkeypatch.context() as patch:
            patch.setattr(gcs, "copy", killed)
            with pytest.raises(KeyboardInterrupt), publishing(target, EXAMPLES) as folder:
                (folder / "train").write_text(content)
                (folder / "manifest.json").write_text('{"kind": "Examples"}')
        assert not storage.exists(f"{target}/manifest.json")
        with publishing(target, EXAMPLES) as folder:
            (folder / "train").write_text(content)
            (folder / "manifest.json").write_text('{"kind": "Examples"}')
        names = [found.name for found in gcs.below(f"gs://{bucket}")]
        assert names == ["out/manifest.json", "out/train"]
        assert storage.read_bytes(f"{target}/train") == content.encode()


def test_what_is_not_ours_is_neither_replaced_nor_removed(bucket: str, put: Put) -> None:
    put("mine/thesis.txt", b"years")
    put("model/manifest.json", b'{"kind": "Model"}')
    before = [found.uri for found in gcs.below(f"gs://{bucket}")]
    for name in ("mine", "model"):
        with pytest.raises(UsageError, match="the output already holds something else"):
            check_output(f"gs://{bucket}/{name}", EXAMPLES)
        with (
            pytest.raises(UsageError, match="the output already holds something else"),
            publishing(f"gs://{bucket}/{name}", EXAMPLES),
        ):
            pass
    for data in ("out/rows.csv", "out", "out/*.csv"):
        with pytest.raises(UsageError, match="the output equals or contains --data"):
            check_output(f"gs://{bucket}/out", EXAMPLES, inputs={"--data": f"gs://{bucket}/{data}"})
    check_output(f"gs://{bucket}/out", EXAMPLES, inputs={"--data": f"gs://{bucket}/outside"})
    assert [found.uri for found in gcs.below(f"gs://{bucket}")] == before


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("gs://", "the bucket name is not valid"),
        ("gs://Bad_Bucket/x", "the bucket name is not valid"),
        ("gs://a..b/x", "the bucket name is not valid"),
        ("gs://bucket/two\nlines", "the object name is not valid"),
        ("gs://bucket//x", "the object name is not valid"),
        ("gs://bucket/" + "x" * 1025, "the object name is not valid"),
        ("gs://bucket", "the object name is missing"),
    ],
)
def test_names_are_checked_before_anything_is_asked(uri: str, what: str) -> None:
    with pytest.raises(UsageError) as error:
        storage.read_bytes(uri)
    assert (error.value.what, error.value.where) == (what, uri)


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    missing = "gs://headrace-nowhere/x"
    for act in (
        lambda: storage.read_bytes(missing),
        lambda: storage.list_files("gs://headrace-nowhere/*.csv", (".csv",)),
        lambda: storage.write_bytes(missing, b"x"),
    ):
        with pytest.raises(UsageError, match="the bucket does not exist"):
            act()


class _Refusing(http.server.BaseHTTPRequestHandler):
    status = 503

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b'{"error": {"message": "so it is"}}'
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that answers every request with one status, where Cloud Storage should be."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(gcs, "_RETRY_SECONDS", 0.5)
        yield
        gcs.close()
        server.shutdown()
        with warnings.catch_warnings():
            # A download that is refused leaves its connection to the garbage collector; that is the library's to mend.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("status", "kind", "what"),
    [
        (503, PlatformError, "Cloud Storage failed or did not respond"),
        (429, PlatformError, "Cloud Storage failed or did not respond"),
        (403, UsageError, "access is denied"),
        (401, UsageError, "no valid credentials for Google Cloud were found"),
        (412, UsageError, "Cloud Storage rejected the request"),
    ],
)
def test_what_the_service_says(
    refusing: None, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], what: str
) -> None:
    monkeypatch.setattr(_Refusing, "status", status)
    for act in (
        lambda: storage.read_bytes("gs://some-bucket/x"),
        lambda: storage.list_files("gs://some-bucket/", (".csv",)),
        lambda: storage.write_bytes("gs://some-bucket/x", b"x"),
    ):
        with pytest.raises(kind, match=what):
            act()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(gcs, "_RETRY_SECONDS", 0.5)
    with pytest.raises(PlatformError, match="failed or did not respond"):
        storage.read_bytes("gs://some-bucket/x")


def test_local_files_need_no_cloud() -> None:
    code = (
        # Some of Google's packages put their namespace there when Python starts.
        "import sys; before = set(sys.modules); from headrace.core import storage; storage.exists('.'); "
        "print([name for name in set(sys.modules) - before if name.startswith('google')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
