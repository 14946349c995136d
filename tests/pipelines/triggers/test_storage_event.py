"""Cloud Storage events: which of them complete a span, whatever comes late, twice or in another order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.triggered import CountedRuns, settings_below

from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers.closing import ClosingRule
from headrace.pipelines.triggers.storage_event import FINALIZED, StorageTrigger, handle

NOW = datetime(2026, 11, 20, tzinfo=UTC)
Put = Callable[[str, bytes], str]


class Events:
    """A bucket whose events a test delivers."""

    def __init__(self, bucket: str, put: Put, closing: str = "marker") -> None:
        self.settings: DynamicSettings = settings_below(f"gs://{bucket}/root")
        self.options = StorageTrigger(self.settings.uri, f"gs://{bucket}/in", ClosingRule.parse(closing))
        self.runs = CountedRuns()
        self.bucket = bucket
        self.put = put
        self._ids = itertools.count()

    def deliver(self, name: str, kind: str = FINALIZED, data: Any = None) -> str:
        content = {"bucket": self.bucket, "name": name, "generation": "1"} if data is None else data
        return handle(self.options, self.settings, kind, str(next(self._ids)), content, NOW, runs=self.runs)

    @property
    def spans(self) -> list[str]:
        inbox = self.settings.ledger.inbox
        return [each.span for each in inbox.read(inbox.versions())]


def test_events_in_any_order_are_one_arrival_and_one_run(bucket: str, put: Put) -> None:
    names = ["in/2026-11-20/a.csv", "in/2026-11-20/b.csv", "in/2026-11-20/_SUCCESS"]
    events = Events(bucket, put)
    put(names[0], b"a\n1\n")
    assert events.deliver(names[0]) == "span 2026-11-20 waits for the marker _SUCCESS"
    put(names[1], b"a\n2\n")
    put(names[2], b"")
    for name in [*names, *reversed(names)] * 2:
        assert events.deliver(name).startswith("span 2026-11-20 arrived as ")
    assert events.spans == ["2026-11-20"]
    ((arrival,),) = events.runs.started.values()
    assert (arrival.data, arrival.reason) == (f"gs://{bucket}/in/2026-11-20", "file")


def test_a_replaced_object_waits_for_a_newer_marker(bucket: str, put: Put) -> None:
    events = Events(bucket, put)
    put("in/2026-11-20/a.csv", b"a\n1\n")
    put("in/2026-11-20/_SUCCESS", b"")
    events.deliver("in/2026-11-20/_SUCCESS")
    put("in/2026-11-20/a.csv", b"a\n2\n")
    assert "waits for a newer marker _SUCCESS: a.csv changed after it" in events.deliver("in/2026-11-20/a.csv")
    put("in/2026-11-20/_SUCCESS", b"")
    events.deliver("in/2026-11-20/_SUCCESS")
    assert events.spans == ["2026-11-20", "2026-11-20"]


def test_a_manifest_may_come_before_its_files(bucket: str, put: Put) -> None:
    events = Events(bucket, put, "manifest")
    manifest = {"files": [{"name": "a.csv", "bytes": 4}, {"name": "b.csv"}]}
    put("in/2026-11-20/_manifest.json", json.dumps(manifest).encode())
    assert events.deliver("in/2026-11-20/_manifest.json").endswith("waits for the file a.csv, which the manifest names")
    put("in/2026-11-20/a.csv", b"a\n1\n")
    assert events.deliver("in/2026-11-20/a.csv").endswith("waits for the file b.csv, which the manifest names")
    put("in/2026-11-20/b.csv", b"a\n2\n")
    assert events.deliver("in/2026-11-20/b.csv").startswith("span 2026-11-20 arrived as ")


def test_an_object_is_a_span_where_the_rule_says_so(bucket: str, put: Put) -> None:
    events = Events(bucket, put, "object")
    put("in/2026-11-20.csv", b"a\n1\n")
    assert events.deliver("in/2026-11-20.csv").startswith("span 2026-11-20 arrived as ")
    put("in/2026-11-21/a.csv", b"a\n1\n")
    with pytest.raises(DataError, match="a folder is not a span"):
        events.deliver("in/2026-11-21/a.csv")


def test_other_events_are_ignored(bucket: str, put: Put) -> None:
    events = Events(bucket, put)
    put("in/2026-11-20/a.csv", b"a\n1\n")
    put("in/2026-11-20/_SUCCESS", b"")
    other = events.deliver("in/2026-11-20/_SUCCESS", "google.cloud.storage.object.v1.deleted")
    assert other == "ignored an event of type google.cloud.storage.object.v1.deleted"
    assert "which is of no span in" in events.deliver("root/dynamic/flights/ledger.json")
    assert "which is gone" in events.deliver("in/2026-11-21/a.csv")
    for data in (None, 3, {}, {"bucket": 1, "name": "a"}, b"x"):
        with pytest.raises(DataError, match="the event names no object"):
            events.deliver("", data={} if data is None else data)
    put("in/not a span/a.csv", b"a\n1\n")
    put("in/not a span/_SUCCESS", b"")
    with pytest.raises(DataError, match="the span is not valid"):
        events.deliver("in/not a span/_SUCCESS")
    assert events.spans == []


def test_what_the_platform_failed_to_do_is_raised_and_what_it_refused_is_in_the_ledger(
    bucket: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Events(bucket, put, "object")
    put("in/2026-11-20.csv", b"a\n1\n")
    events.runs.silent = True
    with pytest.raises(PlatformError):
        events.deliver("in/2026-11-20.csv")
    events.runs.silent = False

    def refuse(*_: object) -> None:
        raise UsageError("the machine type does not exist")

    with monkeypatch.context() as changed:
        changed.setattr(events.runs, "start", refuse)
        assert events.deliver("in/2026-11-20.csv").endswith(": the machine type does not exist.")
    failure = events.settings.ledger.state().failure
    assert failure is not None
    assert failure.reason == "the machine type does not exist"


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({}, "HEADRACE_SETTINGS: the place is not valid"),
        ({"HEADRACE_SETTINGS": "gs://b/root"}, "HEADRACE_SPANS: the place is not valid"),
        ({"HEADRACE_SETTINGS": "gs://b/root", "HEADRACE_SPANS": "in"}, "HEADRACE_SPANS: the place is not valid"),
        (
            {"HEADRACE_SETTINGS": "gs://b/r", "HEADRACE_SPANS": "gs://b/i", "HEADRACE_CLOSED_BY": "quiet=5m"},
            "a function does not run between two events",
        ),
        (
            {"HEADRACE_SETTINGS": "gs://b/r", "HEADRACE_SPANS": "gs://b/i", "HEADRACE_CLOSED_BY": "x"},
            "the closing of spans is not valid",
        ),
    ],
)
def test_options_that_are_wrong_are_refused(environment: dict[str, str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        StorageTrigger.from_environment(environment)


def test_options_come_back_from_the_environment() -> None:
    options = StorageTrigger("gs://b/r", "gs://b/i", ClosingRule.parse("manifest=files.json"))
    assert StorageTrigger.from_environment(options.variables) == options
