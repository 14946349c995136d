"""S3 on this machine: moto's server, which answers the real client library, in a process of its own.

It answers one request at a time: moto checks a condition and writes in two steps, between which the next request of a
threaded server could write. What it does not show: the service's consistency and conflicts (409), MinIO's own answers,
temporary credentials, redirects to a region, and parts of uploads that are smaller than the service allows.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NUMBERS = itertools.count(1)
# The environment of the client: nothing of the machine that the tests run on.
_UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
_SERVER = """
import logging
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app))
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def running_s3() -> Iterator[str]:
    """Runs a server, and gives its URL."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a running server."""
    with running_s3() as url:
        yield url


@pytest.fixture
def s3_environment(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server, which the environment of AWS's tools names."""
    from headrace.core.storage.remote import s3

    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "headrace-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-in-a-log")
    yield s3_server
    s3.close()


@pytest.fixture
def s3_client(s3_environment: str) -> Iterator[Any]:
    """Botocore's own client, without headrace and s3fs."""
    from botocore.session import Session

    client = Session().create_client("s3")
    yield client
    client.close()


@pytest.fixture
def s3_bucket(s3_client: Any) -> str:
    """The name of a new, empty bucket."""
    name = f"headrace-{next(_NUMBERS)}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["gs", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    """The URI of a new, empty bucket in each kind of object store."""
    bucket: str = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
    return f"{request.param}://{bucket}"


@pytest.fixture
def put_object(store: str, request: pytest.FixtureRequest) -> Callable[[str, bytes], str]:
    """Writes an object of `store` by the service's own client, and returns its URI."""
    if store.startswith("gs://"):
        put: Callable[[str, bytes], str] = request.getfixturevalue("put")
        return put
    client = request.getfixturevalue("s3_client")

    def write(name: str, content: bytes) -> str:
        client.put_object(Bucket=store.removeprefix("s3://"), Key=name, Body=content)
        return f"{store}/{name}"

    return write
