"""s3:// on moto's server: names, credentials, conditions that a store ignores, and one paragraph for what is wrong."""

from __future__ import annotations

import http.server
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.storage.compare_and_set import create_if_absent, read_with_token, replace_if_unchanged
from headrace.core.storage.output_check import check_output
from headrace.core.storage.remote import s3


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("s3://", "the bucket name is not valid"),
        ("s3://Bad_Bucket/x", "the bucket name is not valid"),
        ("s3://a..b/x", "the bucket name is not valid"),
        ("s3://minio:9000/bucket/x", "the bucket name is not valid"),
        ("s3://bucket/two\nlines", "the object name is not valid"),
        ("s3://bucket//x", "the object name is not valid"),
        ("s3://bucket/a/../x", "the object name is not valid"),
        ("s3://bucket/x?versionId=1", "the object name is not valid"),
        ("s3://bucket/" + "x" * 1025, "the object name is not valid"),
        ("s3://bucket", "the object name is missing"),
    ],
)
def test_names_are_checked_before_anything_is_asked(uri: str, what: str) -> None:
    with pytest.raises(UsageError) as error:
        storage.read_bytes(uri)
    assert (error.value.what, error.value.where) == (what, uri)


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="must not contain credentials") as error:
        storage.read_bytes("s3://AKIAEXAMPLE:hunter2@bucket/x")
    assert "hunter2" not in error.value.text
    assert "AKIAEXAMPLE" not in error.value.text


def test_no_secret_is_logged(s3_bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="s3fs"):
        storage.write_bytes(f"s3://{s3_bucket}/x", b"content of the file")
        assert storage.read_bytes(f"s3://{s3_bucket}/x") == b"content of the file"
    assert "put_object" in caplog.text
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in caplog.text


def test_no_credentials(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UsageError, match="no valid credentials for S3 were found") as error:
        storage.read_bytes("s3://some-bucket/x")
    assert "AWS_ACCESS_KEY_ID" in str(error.value.fix)


def test_an_endpoint_that_is_not_valid(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    with pytest.raises(UsageError, match="the endpoint or the region of S3 is not valid") as error:
        storage.read_bytes("s3://some-bucket/x")
    assert "minio:9000" in str(error.value.received)


def test_an_object_that_is_replaced_while_it_is_read(s3_bucket: str) -> None:
    uri = f"s3://{s3_bucket}/x"
    storage.write_bytes(uri, b"a" * (20 << 20))
    with storage.open_input(uri) as file:
        assert file.read(1) == b"a"
        storage.write_bytes(uri, b"b" * (20 << 20))
        with pytest.raises(PlatformError, match="the object changed while it was read"):
            file.read()


def test_a_forked_process_has_connections_of_its_own(s3_bucket: str) -> None:
    uri = f"s3://{s3_bucket}/x"
    storage.write_bytes(uri, b"content")
    child = os.fork()
    if not child:
        os._exit(7 if storage.read_bytes(uri) == b"content" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert storage.read_bytes(uri) == b"content"


def test_more_objects_than_one_answer_has(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 10)
    names = [f"many/{number:02d}" for number in range(25)]
    for name in names:
        storage.write_bytes(f"s3://{s3_bucket}/{name}", b"")
    assert list(storage.files_below(f"s3://{s3_bucket}/many")) == [name.removeprefix("many/") for name in names]
    assert len(storage.list_files(f"s3://{s3_bucket}/many", ("",))) == len(names)
    storage.remove(f"s3://{s3_bucket}/many")
    assert not storage.exists(f"s3://{s3_bucket}/many")


def test_objects_that_may_not_be_removed(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service answers with the status 200, and names them."""
    answer = {"Errors": [{"Key": "kept", "Code": "AccessDenied", "Message": "Access Denied"}]}

    class Denying:
        def call_s3(self, method: str, **_: Any) -> dict[str, Any]:
            assert method == "delete_objects"
            return answer

    monkeypatch.setattr(s3, "_file_system", Denying)
    with pytest.raises(UsageError, match="access is denied") as error:
        s3.remove([f"s3://{s3_bucket}/kept"])
    assert error.value.where == f"s3://{s3_bucket}/kept"


# A server that answers as the test says.


class _Answering(http.server.BaseHTTPRequestHandler):
    # The client waits for "100 Continue" before it sends a body.
    protocol_version = "HTTP/1.1"
    status: ClassVar[int] = 503
    code: ClassVar[str] = "ServiceUnavailable"
    page: ClassVar[bytes] = b""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = self.page or f"<Error><Code>{self.code}</Code><Message>so it is</Message></Error>".encode()
        content = b"" if self.command == "HEAD" else content
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - http.server calls these

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def answering(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that answers every request alike, where S3 should be."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(s3, "_ATTEMPTS", 1)
        yield
        s3.close()
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "kind", "what"),
    [
        (503, "SlowDown", PlatformError, "S3 failed or did not respond"),
        (500, "InternalError", PlatformError, "S3 failed or did not respond"),
        (429, "TooManyRequests", PlatformError, "S3 failed or did not respond"),
        (403, "AccessDenied", UsageError, "access is denied"),
        (403, "InvalidAccessKeyId", UsageError, "no valid credentials for S3 were found"),
        (403, "SignatureDoesNotMatch", UsageError, "no valid credentials for S3 were found"),
        (400, "ExpiredToken", UsageError, "no valid credentials for S3 were found"),
        (403, "RequestTimeTooSkewed", UsageError, "the clock of this machine is wrong"),
        (404, "NoSuchBucket", UsageError, "the bucket does not exist"),
        (501, "NotImplemented", UsageError, "the store lacks this kind of request"),
        (400, "InvalidRequest", UsageError, "S3 rejected the request"),
    ],
)
def test_what_the_service_says(
    answering: None, monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[HeadraceError], what: str
) -> None:
    monkeypatch.setattr(_Answering, "status", status)
    monkeypatch.setattr(_Answering, "code", code)
    acts: list[Callable[[], object]] = [
        lambda: storage.read_bytes("s3://some-bucket/x"),
        lambda: storage.list_files("s3://some-bucket/", (".csv",)),
        lambda: storage.write_bytes("s3://some-bucket/x", b"x"),
        lambda: create_if_absent("s3://some-bucket/x", b"x"),
    ]
    for act in acts:
        with pytest.raises(kind, match=what):
            act()


def test_a_web_server_is_no_store(answering: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Answering, "status", 200)
    monkeypatch.setattr(_Answering, "page", b"<!doctype html><html><head><title>Console</title></head></html>")
    acts: list[Callable[[], object]] = [
        lambda: storage.read_bytes("s3://some-bucket/x"),
        lambda: storage.open_input("s3://some-bucket/x.csv"),
        lambda: storage.exists("s3://some-bucket/x"),
        lambda: storage.list_files("s3://some-bucket/x.csv", (".csv",)),
        lambda: storage.list_files("s3://some-bucket/", (".csv",)),
        lambda: storage.write_bytes("s3://some-bucket/x", b"x"),
        lambda: storage.write_bytes("s3://some-bucket/x", bytes(2 * s3._PART)),
        lambda: storage.move("s3://some-bucket/x", "s3://some-bucket/y"),
        lambda: storage.remove("s3://some-bucket/x"),
        lambda: create_if_absent("s3://some-bucket/x", b"x"),
        lambda: read_with_token("s3://some-bucket/x"),
    ]
    for act in acts:
        with pytest.raises(PlatformError) as error:
            act()
        assert "AWS_ENDPOINT_URL" in str(error.value.fix)


def test_nobody_answers(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3, "_ATTEMPTS", 1)
    with pytest.raises(PlatformError, match="failed or did not respond") as error:
        storage.read_bytes("s3://some-bucket/x")
    assert "AWS_ENDPOINT_URL" in str(error.value.fix)


# Conditional writes


class Calls:
    """Calls of the client, as they are made, without the conditions that a test's store ignores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.ignored: set[str] = set()
        self._call = s3.call
        monkeypatch.setattr(s3, "call", self)

    def __call__(self, method: str, uri: str, **arguments: Any) -> dict[str, Any]:
        self.made.append(method)
        return self._call(method, uri, **{name: arguments[name] for name in arguments.keys() - self.ignored})


@pytest.fixture
def calls(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls of a test."""
    return Calls(monkeypatch)


@pytest.mark.parametrize(("ignored", "header"), [("IfNoneMatch", "If-None-Match"), ("IfMatch", "If-Match")])
def test_a_store_that_ignores_a_condition_is_refused_and_no_object_overwritten(
    s3_bucket: str, calls: Calls, ignored: str, header: str
) -> None:
    """Two writers would both succeed there, and one change would be lost without a word."""
    uri = f"s3://{s3_bucket}/folder/state.json"
    storage.write_bytes(uri, b"first")
    now = read_with_token(uri)
    assert now is not None
    calls.ignored = {ignored}
    acts: list[Callable[[], object]] = [
        lambda: create_if_absent(uri, b"second"),
        lambda: create_if_absent(f"s3://{s3_bucket}/folder/new.json", b"second"),
        lambda: replace_if_unchanged(uri, b"second", "another token"),
        lambda: replace_if_unchanged(uri, b"second", now.token),
    ]
    for act in acts:
        with pytest.raises(UsageError, match=f"the store ignores conditional writes.*{header} on PUT"):
            act()
        assert list(storage.files_below(f"s3://{s3_bucket}")) == ["folder/state.json"]
        assert storage.read_bytes(uri) == b"first"
    calls.ignored = set()
    assert not create_if_absent(uri, b"second")
    assert replace_if_unchanged(uri, b"second", now.token)


def test_conditions_are_checked_once_for_a_connection_and_a_bucket(
    s3_bucket: str, calls: Calls, s3_client: Any
) -> None:
    for name in "ab":
        assert create_if_absent(f"s3://{s3_bucket}/{name}", b"x")
    assert calls.made == ["put_object"] * 4
    now = read_with_token(f"s3://{s3_bucket}/a")
    assert now is not None
    assert replace_if_unchanged(f"s3://{s3_bucket}/a", b"y", now.token)
    assert calls.made == ["put_object"] * 5
    assert list(storage.files_below(f"s3://{s3_bucket}")) == ["a", "b"]
    s3_client.create_bucket(Bucket=f"{s3_bucket}-another")
    assert create_if_absent(f"s3://{s3_bucket}-another/a", b"x")
    assert calls.made == ["put_object"] * 8
    s3.close()
    assert not create_if_absent(f"s3://{s3_bucket}/a", b"x")
    assert calls.made == ["put_object"] * 11 + ["head_object"]


def test_a_probe_is_part_of_no_folder(s3_bucket: str) -> None:
    """Another process may be about to write one, or have left it."""
    registry = f"s3://{s3_bucket}/registry"
    storage.write_bytes(f"{registry}/.headrace-probe-{'0' * 16}", b"")
    check_output(registry, REGISTRY)
    storage.write_bytes(f"{registry}/.headrace-probe-of-mine", b"")
    with pytest.raises(UsageError, match="the output already holds something else"):
        check_output(registry, REGISTRY)


def test_a_replacement_is_the_same_text_to_every_reader(s3_bucket: str) -> None:
    uri = f"s3://{s3_bucket}/state"
    create_if_absent(uri, b"0")
    for content in (b'{"x": 1}\n', b'{"x": 1}', b'{"x": 1}\n{"y": 2}\n', b"", b"\n", b"\n\n", b"{} \t\n"):
        now = read_with_token(uri)
        assert now is not None
        assert replace_if_unchanged(uri, content, now.token)
        after = read_with_token(uri)
        assert after is not None
        assert after.content == content
        lines = storage.read_bytes(uri).split(b"\n")
        assert [line.rstrip(b" \t") for line in lines] == [line.rstrip(b" \t") for line in content.split(b"\n")]


def test_a_conflict_is_tried_again(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon answers 409 where another conditional request on the object was in progress: nothing was written."""
    from headrace.core.storage.remote.s3_errors import error_of_response

    assert create_if_absent(f"s3://{s3_bucket}/another.json", b"the store's conditions are known now")
    called, conflicts = s3.call, [1, 2]

    def conflicting(method: str, uri: str, **arguments: Any) -> Mapping[str, Any]:
        if method == "put_object" and conflicts:
            conflicts.pop()
            raise error_of_response(uri, {"Code": "ConditionalRequestConflict", "Message": "conflict"}, 409)
        return called(method, uri, **arguments)

    monkeypatch.setattr(s3, "call", conflicting)
    uri = f"s3://{s3_bucket}/state.json"
    assert create_if_absent(uri, b"first")
    assert not conflicts
    assert not create_if_absent(uri, b"second")
