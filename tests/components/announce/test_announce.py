"""Announcements: the event of a registry, and what is sent to whom."""

from __future__ import annotations

import http.server
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.ledgers import arrival, claimed
from support.registered_models import make_model

from headrace.components.announce import announce as announcement
from headrace.components.announce import step
from headrace.components.announce.announce import announce
from headrace.components.announce.destinations import check_destination, name_of, send
from headrace.components.announce.events import event_of
from headrace.components.registry.folder.registry import Registry
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.ledger.ledger import Ledger
from headrace.core.model_events.event import ModelEvent
from headrace.core.signals import Terminated
from headrace.core.steps.identity import publish_identity
from headrace.core.steps.step import read_record

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry(str(tmp_path / "registry"), who="ann@host", clock=lambda: NOW)
    for version in ("v1", "v2", "v3"):
        made.register(make_model(tmp_path / version, version, problem="days", digest=version * 32))
    return made


def event(registry: Registry) -> ModelEvent:
    found = event_of(registry, "days")
    assert found is not None
    return found


class TestEvents:
    """The event of a registry."""

    def test_there_is_none_without_a_champion(self, registry: Registry) -> None:
        assert event_of(registry, "days") is None

    def test_a_promotion(self, registry: Registry) -> None:
        registry.promote("v1", why="better")
        found = event(registry)
        assert found == ModelEvent(
            app="days",
            epoch=4,
            action="promote",
            version="v1",
            model=str(Path(registry.path("v1")).resolve()),
            digest=registry.state().versions["v1"].digest,
            problem="v1" * 32,
            who="ann@host",
            at="2026-02-01T00:00:00+00:00",
            why="better",
        )

    def test_other_changes_are_no_events(self, registry: Registry) -> None:
        registry.promote("v1")
        before = event(registry).encode()
        registry.set_aliases({"challenger": "v2"})
        registry.mark_bad("v3")
        registry.promote("v1")
        assert event(registry).encode() == before

    def test_a_rollback_is_a_newer_event_of_an_older_version(self, registry: Registry) -> None:
        for version in ("v1", "v2", "v3"):
            registry.promote(version)
        registry.mark_bad("v3")
        first = event(registry)
        assert (first.epoch, first.action, first.version) == (7, "rollback", "v2")
        registry.mark_bad("v2", successor="v1")
        second = event(registry)
        assert (second.epoch, second.action, second.version) == (8, "rollback", "v1")
        # Each names the Problem that its version was trained for.
        assert (first.problem, second.problem) == ("v2" * 32, "v1" * 32)

    def test_a_version_of_an_earlier_release_has_no_problem(self, registry: Registry, tmp_path: Path) -> None:
        model = Path(make_model(tmp_path / "old", "old"))
        registry.register(str(model))
        registry.promote("old")
        assert event(registry).problem == ""

    def test_it_is_the_same_by_whichever_path_the_registry_is_named(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.promote("v1")
        (tmp_path / "link").symlink_to(tmp_path)
        (tmp_path / "events").mkdir()
        monkeypatch.chdir(tmp_path)
        for path in ("registry", "events/../registry", str(tmp_path / "link" / "registry")):
            assert event(Registry(path)) == event(registry)

    def test_an_alias_that_is_set_by_hand(self, registry: Registry) -> None:
        registry.promote("v1")
        registry.set_aliases({"champion": "v2"})
        assert (event(registry).epoch, event(registry).version) == (5, "v2")

    def test_a_registry_of_an_earlier_release(self, registry: Registry, tmp_path: Path) -> None:
        registry.promote("v1")
        registry.set_aliases({"challenger": "v2"})
        file = tmp_path / "registry" / "registry.json"
        content = json.loads(file.read_text())
        for change in content["history"]:
            change.pop("champion", None)
        file.write_text(json.dumps(content))
        # It does not tell: the last change that may have been it.
        assert event(registry).epoch == 5


class TestFolder:
    """A folder of files, one per epoch."""

    def test_a_file_per_epoch(self, registry: Registry, tmp_path: Path) -> None:
        folder = str(tmp_path / "events")
        for version in ("v1", "v2"):
            registry.promote(version)
            for _ in range(2):
                send(event(registry), folder)
        files = sorted(Path(folder).glob("*.json"))
        assert [file.name for file in files] == ["days-0000000004.json", "days-0000000005.json"]
        assert [ModelEvent.decode(file.read_bytes(), str(file)).version for file in files] == ["v1", "v2"]

    def test_another_event_of_the_same_epoch(self, registry: Registry, tmp_path: Path) -> None:
        folder = str(tmp_path / "events")
        registry.promote("v1")
        send(event(registry), folder)
        file = Path(folder, "days-0000000004.json")
        file.write_bytes(file.read_bytes().replace(b'"v1"', b'"v9"'))
        with pytest.raises(DataError, match="another event of this epoch") as refused:
            send(event(registry), folder)
        assert (refused.value.expected or "").startswith("promote of version v1, digest ")
        assert (refused.value.received or "").startswith("promote of version v9, digest ")

    def test_the_same_change_in_the_words_of_an_earlier_release(self, registry: Registry, tmp_path: Path) -> None:
        registry.promote("v1")
        before = replace(event(registry), problem="", who="")
        send(before, str(tmp_path))
        send(event(registry), str(tmp_path))
        assert (tmp_path / "days-0000000004.json").read_bytes() == before.encode()


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[bytes], list[int]]]:
    """A webhook's URL, what it was told, and the statuses that it answers with, the last of them from then on."""
    told: list[bytes] = []
    statuses = [204]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook/SECRET", told, statuses
    server.shutdown()
    thread.join()
    server.server_close()


class TestWebhook:
    """A webhook, whose URL is a secret."""

    def test_it_is_told(self, registry: Registry, webhook: tuple[str, list[bytes], list[int]]) -> None:
        url, told, _ = webhook
        registry.promote("v1")
        send(event(registry), url)
        assert told == [event(registry).encode()]

    @pytest.mark.parametrize("status", [302, 500])
    def test_it_does_not_accept(
        self, registry: Registry, webhook: tuple[str, list[bytes], list[int]], status: int
    ) -> None:
        url, told, statuses = webhook
        statuses[:] = [status]
        registry.promote("v1")
        with pytest.raises(PlatformError, match="could not be notified") as failed:
            send(event(registry), url)
        assert "SECRET" not in failed.value.text
        assert len(told) == 1


@pytest.mark.parametrize(
    "wrong",
    ["", "pubsub://x", "pubsub://project-1/a", "kafka://topic", "kafka://host:9092/a/b", "ftp://host/x", "https://"],
)
def test_what_is_no_destination(wrong: str) -> None:
    with pytest.raises(UsageError, match="is not valid"):
        check_destination(wrong)


def test_destinations_and_their_names() -> None:
    for right in ("events", "/a/b", "gs://bucket/events", "pubsub://project-1/models", "kafka://a:9092,b:9092/models"):
        check_destination(right)
        assert name_of(right) == right
    assert name_of("https://hooks.example.com/SECRET?x=1") == "https://hooks.example.com/..."


class TestAnnounce:
    """All destinations, each until it accepted the event."""

    def test_once_to_each_and_again_to_those_that_failed(
        self, registry: Registry, tmp_path: Path, webhook: tuple[str, list[bytes], list[int]]
    ) -> None:
        url, told, statuses = webhook
        folder, record = str(tmp_path / "events"), str(tmp_path / "announced.json")
        assert announce(registry, "days", [folder, url], record).event is None
        registry.promote("v1")
        statuses[:] = [503, 200]
        first = announce(registry, "days", [folder, url], record)
        assert (first.sent, [name for name, _ in first.failed]) == ((folder,), [name_of(url)])
        assert "SECRET" not in str(first)
        assert announce(registry, "days", [folder, url], record).sent == (name_of(url),)
        assert announce(registry, "days", [folder, url], record).sent == ()
        assert "SECRET" not in Path(record).read_text()
        registry.promote("v2")
        assert len(announce(registry, "days", [folder, url], record).sent) == 2
        assert [json.loads(body)["epoch"] for body in told] == [4, 4, 5]
        assert told[0] == told[1]

    def test_a_signal_ends_it(self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not an error of a destination."""
        registry.promote("v1")
        monkeypatch.setattr(announcement, "send", lambda *_: (_ for _ in ()).throw(Terminated.by(signal.SIGTERM)))
        with pytest.raises(Terminated):
            announce(registry, "days", [str(tmp_path / "events")], str(tmp_path / "announced.json"))

    def test_a_damaged_record(self, registry: Registry, tmp_path: Path) -> None:
        registry.promote("v1")
        record = tmp_path / "announced.json"
        record.write_text('{"format": 7}')
        with pytest.raises(DataError, match="the record of announcements is damaged"):
            announce(registry, "days", [str(tmp_path / "events")], str(record))

    def test_the_step_of_a_run_that_was_overtaken_sends_nothing(self, registry: Registry, tmp_path: Path) -> None:
        registry.promote("v1")
        claim = claimed(str(tmp_path / "ledger"), [arrival(0)])
        root, folder = str(tmp_path / "root"), str(tmp_path / "events")

        def run() -> None:
            record = str(tmp_path / "announced.json")
            step.run(registry.folder, "days", [folder], record, root, claim.to_json())

        run()
        found = read_record(root, "announce", publish_identity("announce", claim.run_id, registry.folder))
        assert found is not None
        assert (found["result"]["sent"], found["result"]["epoch"]) == ([folder], 4)
        Ledger(claim.ledger).end(claim.run_id, 1, "promoted")
        registry.promote("v2")
        with pytest.raises(SystemExit):
            run()
        assert len(list(Path(folder).glob("*.json"))) == 1
