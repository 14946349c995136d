"""Inbox: what arrives is kept once, as it came first; what is damaged is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.inbox import Arrival, Inbox, data_version_of

VERSION = data_version_of("p", "2026-11-20", "d")
ARRIVAL = Arrival(VERSION, "2026-11-20", "gs://b/d.csv", "d", "file", "1", "2026-11-20T00:00:00+00:00")


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(str(tmp_path / "inbox"))


def test_the_first_arrival_stays(inbox: Inbox) -> None:
    assert inbox.versions() == []
    assert inbox.add(ARRIVAL)
    assert not inbox.add(dataclasses.replace(ARRIVAL, event="2"))
    assert (inbox.versions(), inbox.read([VERSION])) == ([VERSION], [ARRIVAL])


def test_the_version_depends_on_problem_span_and_data() -> None:
    versions = {
        data_version_of(*parts) for parts in (("p", "s", "d"), ("q", "s", "d"), ("p", "t", "d"), ("p", "s", "e"))
    }
    assert len(versions) == 4


def test_arrivals_are_read_in_the_order_of_spans(inbox: Inbox) -> None:
    spans = ["2026-11-22", "2026-11-20", "2026-11-21"]
    for span in spans:
        inbox.add(dataclasses.replace(ARRIVAL, version=data_version_of("p", span, "d"), span=span))
    assert [each.span for each in inbox.read(inbox.versions())] == sorted(spans)


def test_what_is_damaged_or_missing_is_named(inbox: Inbox) -> None:
    inbox.add(ARRIVAL)
    (Path(inbox.uri) / "notes.txt").write_text("not an arrival")
    (Path(inbox.uri) / "0.json").write_text("not one either")
    assert inbox.versions() == [VERSION]
    with pytest.raises(UsageError, match="the data version did not arrive"):
        inbox.read(["0" * 16])
    file = Path(inbox.uri) / f"{VERSION}.json"
    for content in ('{"version": 1}', "{}", file.read_text().replace(VERSION, "f" * 16)):
        file.write_text(content)
        with pytest.raises(DataError, match="the arrival is damaged"):
            inbox.read([VERSION])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "../x"}, "the data version is not valid"),
        ({"span": "a/b"}, "the span is not valid"),
        ({"event": "x" * 1001}, "event of the arrival is not valid"),
    ],
)
def test_an_arrival_checks_itself(change: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(ARRIVAL, **change)
