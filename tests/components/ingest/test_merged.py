"""Merged statistics: the same spans give the same bytes by any way, exact where sketches are, from few files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.components.ingest import merged as merged_module
from headrace.components.ingest.merged import Leaf, merged_statistics
from headrace.components.preprocess.append_index import STATISTICS, keep
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest, Quarantine, Split
from headrace.core.errors import DataError
from headrace.core.statistics.file import to_bytes
from headrace.core.statistics.measure import TableStatistics

COUNT = 60


def table(number: int) -> pa.Table:
    return pa.table({"x": [float(number), number / 7, 3.0], "c": [f"{number % 5}", "a", None]})


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> list[Leaf]:
    folder = tmp_path_factory.mktemp("spans")
    made = []
    for number in range(COUNT):
        uri = str(folder / f"{number}")
        sketch = keep(uri, STATISTICS, to_bytes(TableStatistics.measure(table(number), ["x", "c"])))
        empty = Split(0, ())
        manifest = Manifest(
            *(f"{number}", "days", "0" * 64, "0" * 64, (), 0, 0, 0),
            splits={"train": empty, "eval": empty, "test": empty},
            quarantine=Quarantine(0.0, {}, ()),
            sketches=(sketch,),
        )
        made.append(Leaf(f"{number:03d}", f"{number:016x}", uri, manifest))
    return made


@max_examples(60)
@given(windows=st.lists(st.sets(st.integers(0, COUNT - 1)), min_size=1, max_size=5))
@example(windows=[set(range(COUNT)), set(range(1, COUNT)), {7}, set()])
def test_any_way_gives_the_same_bytes(
    leaves: list[Leaf], tmp_path_factory: pytest.TempPathFactory, windows: list[set[int]]
) -> None:
    folder = str(tmp_path_factory.mktemp("statistics"))
    for window in windows:
        chosen = [leaves[number] for number in sorted(window)]
        found = merged_statistics(folder, chosen)
        alone = merged_statistics(str(tmp_path_factory.mktemp("alone")), chosen)
        if not window:
            assert found is alone is None
            continue
        assert found is not None
        assert alone is not None
        assert to_bytes(found) == to_bytes(alone)
        # Exact, but for the rounding of sums.
        whole = TableStatistics.measure(pa.concat_tables([table(number) for number in sorted(window)]), ["x", "c"])
        ours, theirs = found.to_json()["columns"], whole.to_json()["columns"]
        assert ours["c"] == theirs["c"]
        for measure in ("mean", "standard_deviation"):
            assert ours["x"].pop(measure) == pytest.approx(theirs["x"].pop(measure))
        assert ours["x"] == theirs["x"]


def test_a_window_with_another_span_in_the_middle_is_not_taken_for_what_is_stored(
    leaves: list[Leaf], tmp_path: Path
) -> None:
    merged_statistics(str(tmp_path / "shared"), leaves)
    for place in range(1, COUNT, 5):
        # Withdrawn, and corrected.
        for changed in ([], [dataclasses.replace(leaves[0], span=leaves[place].span)]):
            window = [*leaves[:place], *changed, *leaves[place + 1 :]]
            found = merged_statistics(str(tmp_path / "shared"), window)
            alone = merged_statistics(str(tmp_path / f"{place}-{len(changed)}"), window)
            assert found is not None
            assert alone is not None
            assert to_bytes(found) == to_bytes(alone)


def test_a_moving_window_reads_few_files(leaves: list[Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length, read = 40, []
    real = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda uri: read.append(uri) or real(uri))  # type: ignore[func-returns-value]
    counts = []
    for end in range(length, COUNT):
        read.clear()
        merged_statistics(str(tmp_path), leaves[end - length : end])
        counts.append(len(read))
    # The first window reads all spans.
    assert counts[0] >= length
    assert max(counts[1:]) < length
    assert sum(counts[1:]) / len(counts[1:]) <= 16


def test_a_damaged_file_is_merged_again(leaves: list[Leaf], tmp_path: Path) -> None:
    whole = merged_statistics(str(tmp_path), leaves)
    assert whole is not None
    stored = sorted((tmp_path / "_statistics").iterdir())
    before = [path.read_bytes() for path in stored]
    for path in stored:
        path.write_bytes(path.read_bytes()[:-9])
    again = merged_statistics(str(tmp_path), leaves)
    assert again is not None
    assert to_bytes(again) == to_bytes(whole)
    assert [path.read_bytes() for path in stored if path.read_bytes() in before]
    Path(leaves[0].uri, STATISTICS).rename(Path(leaves[0].uri, "gone"))
    with pytest.raises(DataError, match="the file does not exist"):
        merged_statistics(str(tmp_path), leaves)
    Path(leaves[0].uri, "gone").rename(Path(leaves[0].uri, STATISTICS))


def test_groups_are_bounded_on_every_level() -> None:
    ends = [sum(merged_module._ends_group(f"{number:05d}", level) for number in range(4096)) for level in (1, 2, 3)]
    assert ends == [pytest.approx(1024, rel=0.1), pytest.approx(256, rel=0.2), pytest.approx(64, rel=0.4)]
