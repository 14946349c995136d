"""Catalog of spans: several writers at once, the same bytes for the same content, and damage."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.components.ingest.catalog import Catalog, SpanVersion
from headrace.core.errors import DataError

VERSION = SpanVersion("1", "1.csv", "a" * 64, "2026-01-01T00:00:00+00:00", "0" * 16, ("delimiter=;",), "f" * 64)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    versions = [dataclasses.replace(VERSION, span=f"{number}", verdict="empty") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: Catalog(str(tmp_path)).put([version]), versions))
    catalog = Catalog(str(tmp_path))
    assert catalog.read() == {version.key: version for version in versions}
    # In whatever order they came, the bytes are the same, and what is there already is not written again.
    before = (tmp_path / "_spans.json").stat()
    catalog.put(versions[::-1])
    assert (tmp_path / "_spans.json").stat().st_mtime_ns == before.st_mtime_ns
    Catalog(str(tmp_path / "other")).put(versions[::-1])
    assert (tmp_path / "other" / "_spans.json").read_bytes() == (tmp_path / "_spans.json").read_bytes()


def test_the_key_is_of_what_examples_depend_on() -> None:
    changed = {"span": "2", "data_version": "b" * 64, "csv": (), "schema": "e" * 64}
    keys = {dataclasses.replace(VERSION, **{name: value}).key for name, value in changed.items()}  # type: ignore[arg-type]
    assert len({VERSION.key, *keys}) == 5
    same = {
        "data": "elsewhere.csv",
        "at": "later",
        "version": "1" * 16,
        "verdict": "accepted",
        "judged": "x",
        "why": "y",
    }
    assert all(dataclasses.replace(VERSION, **{n: v}).key == VERSION.key for n, v in same.items())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    ["{", "null", "[]", '{"format": 2, "versions": []}', '{"format": 1}', '{"format": 1, "versions": [{"span": "1"}]}'],
)
def test_a_damaged_catalog(tmp_path: Path, content: str) -> None:
    (tmp_path / "_spans.json").write_text(content)
    catalog = Catalog(str(tmp_path))
    for use in (catalog.read, lambda: catalog.put([VERSION])):
        with pytest.raises(DataError, match=r"damaged|not valid JSON"):
            use()
    assert (tmp_path / "_spans.json").read_text() == content


def test_an_accepted_span_without_its_manifest(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    catalog.put([dataclasses.replace(VERSION, verdict="accepted")])
    (found,) = catalog.read().values()
    with pytest.raises(DataError, match="does not have the expected fields"):
        found.examples(catalog.uri)
    assert json.loads((tmp_path / "_spans.json").read_text())["kind"] == "Spans"
