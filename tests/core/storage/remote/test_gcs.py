"""gs:// on a real server: names that are checked, and one paragraph for what is wrong."""

from __future__ import annotations

import gc
import http.server
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.storage.compare_and_set import create_if_absent, read_with_token
from headrace.core.storage.remote import gcs


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
        "print([name for name in set(sys.modules) - before if name.startswith(('google', 's3fs', 'botocore'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_object_that_did_not_arrive_whole_is_read_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checksum is that of another content, as where it was replaced meanwhile."""
    from google.cloud.storage import Blob
    from google.resumable_media.common import DataCorruption

    uri, download, damaged = f"gs://{bucket}/state.json", Blob.download_as_bytes, [True, True]

    def downloaded(self: Blob, **options: Any) -> bytes:
        content: bytes = download(self, **options)
        if damaged and damaged.pop():
            raise DataCorruption(None, "Checksum mismatch while downloading")
        return content

    monkeypatch.setattr(Blob, "download_as_bytes", downloaded)
    assert create_if_absent(uri, b"{}")
    found = read_with_token(uri)
    assert (found and found.content, damaged) == (b"{}", [])
    damaged += [True] * 100
    with pytest.raises(PlatformError, match="did not arrive whole"):
        read_with_token(uri)
