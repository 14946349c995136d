"""Cost of a day: which files are read when a day is added to a short and to a long window."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.day_spans import Days, rows_of

from headrace.components.ingest.catalog import Catalog


def span(number: int) -> str:
    return f"{number:05d}"


def grow(days: Days, count: int) -> None:
    """Makes the first span stand for `count` of them, each with Examples of its own."""
    spans = Path(days.root) / "spans" / "days"
    catalog = Catalog(str(spans))
    (first,) = catalog.read().values()
    versions = [dataclasses.replace(first, span=span(number), data_version=f"{number}") for number in range(1, count)]
    for version in versions:
        shutil.copytree(spans / first.folder, spans / version.folder)
    catalog.put(versions)


def files_read(days: Days, number: int, monkeypatch: pytest.MonkeyPatch, **window: int) -> list[str]:
    """The files below the root, other than those of the new span, that adding it reads, each as often as it is."""
    read: list[str] = []
    real = io.open

    def counting(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "r" in mode and str(file).startswith(days.root):
            read.append(str(Path(file).relative_to(days.root)))
        return real(file, mode, *args, **kwargs)

    arrival = days.arrival(span(number), rows_of(span(number)), number)
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", counting)
        result = days.ingest(arrival, **window)
    assert result.spans[-1] == span(number)
    return [name for name in read if f"/{span(number)}/" not in name and "/." not in name]


def test_adding_a_day_reads_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[int, int] = {}
    for length in (7, 365):
        days = Days(tmp_path / str(length))
        days.ingest(days.arrival(span(0), rows_of(span(0))))
        grow(days, length)
        assert len(days.ingest().spans) == length
        for added in range(length, length + 3):
            read = files_read(days, added, monkeypatch, last_spans=length)
            # No shard, manifest or data of another span is read: only the catalog, and statistics.
            others = [name for name in read if not name.endswith(".arrow")]
            assert set(others) == {"spans/days/_spans.json"}
            counts[length] = max(counts.get(length, 0), len(read))
    # Statistics are merged from the two ends of a tree: about four more files for each fourfold length and end.
    assert counts[7] <= 12
    assert counts[365] <= 36
