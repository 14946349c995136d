"""When a span is complete: by a marker, a manifest or a quiet time, and never by its first file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DataError, UsageError
from headrace.pipelines.triggers.closing import ClosingRule, IncompleteSpan, waits_for
from headrace.pipelines.triggers.span import File, ListedSpan, is_unfinished

MARKER, MANIFEST, QUIET = ClosingRule.parse("marker"), ClosingRule.parse("manifest"), ClosingRule.parse("quiet=5m")


def span(folder: bool = True, /, **files: tuple[int, float]) -> ListedSpan:
    named = {name.replace("__", "."): File(size, changed, "") for name, (size, changed) in files.items()}
    return ListedSpan("day", "in/day", folder, named)


def why(found: IncompleteSpan | None) -> str | None:
    return None if found is None else found.why


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("marker", "marker=_SUCCESS"),
        ("marker=done.txt", "marker=done.txt"),
        ("manifest", "manifest=_manifest.json"),
        ("quiet=0.5m", "quiet=30s"),
        ("quiet=2h", "quiet=7200s"),
        ("object", "object"),
    ],
)
def test_a_rule_is_read_from_text(text: str, shown: str) -> None:
    assert str(ClosingRule.parse(text)) == shown
    assert ClosingRule.parse(shown) == ClosingRule.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "marker=",
        "marker=a/b",
        "marker=..",
        "quiet",
        "quiet=",
        "quiet=5x",
        "quiet=0s",
        "quiet=-1s",
        "object=x",
        "files",
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the closing of spans is not valid"):
        ClosingRule.parse(text)


def test_a_marker_that_is_newer_than_every_file_closes() -> None:
    assert why(waits_for(span(a__csv=(9, 1)), MARKER, None, 1e9)) == "the marker _SUCCESS"
    assert waits_for(span(a__csv=(9, 1), b__csv=(0, 3), _SUCCESS=(0, 3)), MARKER, None, 0) is None
    # A file of a correction came, and perhaps not the last one.
    late = span(a__csv=(9, 4), b__csv=(9, 2), _SUCCESS=(0, 3))
    assert why(waits_for(late, MARKER, None, 0)) == "a newer marker _SUCCESS: a.csv changed after it"
    with pytest.raises(DataError, match="the span has a marker and no data file"):
        waits_for(span(_SUCCESS=(0, 3), _log=(5, 1)), MARKER, None, 0)


def manifest(*files: dict[str, object]) -> bytes:
    return json.dumps({"files": files}).encode()


def test_a_manifest_closes_when_each_file_is_there_in_its_size() -> None:
    named = manifest({"name": "a.csv", "bytes": 9}, {"name": "b.csv"})
    assert why(waits_for(span(a__csv=(9, 1), b__csv=(1, 1)), MANIFEST, None, 0)) == "the manifest _manifest.json"
    assert why(waits_for(span(a__csv=(9, 1)), MANIFEST, named, 0)) == "the file b.csv, which the manifest names"
    assert why(waits_for(span(a__csv=(8, 1), b__csv=(1, 1)), MANIFEST, named, 0)) == "the rest of a.csv: 8 of 9 bytes"
    assert waits_for(span(a__csv=(9, 1), b__csv=(1, 1)), MANIFEST, named, 0) is None
    with pytest.raises(DataError, match=r"files that its manifest does not name\. Received: c\.csv"):
        waits_for(span(a__csv=(9, 1), b__csv=(1, 1), c__csv=(1, 1)), MANIFEST, named, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files": []}',
        b'{"files": 3}',
        b'{"files": ["a.csv"]}',
        manifest({"name": "a.csv"}, {"name": "a.csv"}),
        manifest({"name": "../a.csv"}),
        manifest({"name": "/a.csv"}),
        manifest({"name": "_a.csv"}),
        manifest({"name": "a.csv", "bytes": -1}),
        manifest({"name": "a.csv", "bytes": "9"}),
        b"[" * 100_000,
    ],
)
def test_a_manifest_that_is_not_valid_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="the manifest is not valid"):
        waits_for(span(a__csv=(9, 1)), MANIFEST, content, 0)


def test_a_quiet_time_closes_whole_files_alone() -> None:
    assert why(waits_for(span(a__csv=(9, 1)), QUIET, None, 299.9)) == "300 s without a change"
    assert waits_for(span(a__csv=(9, 1)), QUIET, None, 300) is None
    assert waits_for(span(False, day__csv=(9, 1)), QUIET, None, 300) is None
    assert why(waits_for(span(_SUCCESS=(0, 1)), QUIET, None, 1e9)) == "a data file"
    assert why(waits_for(span(a__csv=(0, 1), b__csv=(9, 1)), QUIET, None, 1e9)) == "the content of a.csv"
    partial = span(a__csv=(9, 1), b__csv__part=(9, 1))
    assert (
        why(waits_for(partial, QUIET, None, 1e9)) == "the end of b.csv.part, whose name is that of an unfinished file"
    )


@pytest.mark.parametrize("rule", [MARKER, MANIFEST])
def test_a_file_outside_a_folder_has_no_marker(rule: ClosingRule) -> None:
    with pytest.raises(DataError, match="the file is not in the folder of a span"):
        waits_for(span(False, day__csv=(9, 1)), rule, None, 0)


def test_an_object_of_a_store_is_whole_and_a_folder_is_not_an_object() -> None:
    assert waits_for(span(False, day__csv=(9, 1)), ClosingRule("object"), None, 0) is None
    with pytest.raises(DataError, match="a folder is not a span where each object is one"):
        waits_for(span(day__csv=(9, 1)), ClosingRule("object"), None, 0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.floats(0, 1e6))
def test_no_span_closes_by_a_marker_before_its_last_file(changes: list[float], marked: float) -> None:
    files = {f"{number}.csv": File(1, changed, "") for number, changed in enumerate(changes)}
    found = waits_for(ListedSpan("day", "in/day", True, {**files, "_SUCCESS": File(0, marked, "")}), MARKER, None, 0)
    assert (found is None) == (marked >= max(changes))


@pytest.mark.parametrize(
    ("name", "unfinished"),
    [
        ("a.csv", False),
        ("a.csv.tmp", True),
        ("a.csv.filepart", True),
        ("a.csv._COPYING_", True),
        ("_temporary/0/a.parquet", True),
        ("part/a.csv", False),
        ("temporary.csv", False),
        (".temp-beam-1/a.csv", True),
        ("a.csv~", True),
        ("partial.csv", False),
    ],
)
def test_names_of_files_that_are_being_written(name: str, unfinished: bool) -> None:
    assert is_unfinished(name) == unfinished
