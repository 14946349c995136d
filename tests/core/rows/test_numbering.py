"""Keys of rows without a key column: no two alike, the same for a row whatever stands around it or how it is stored."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.rows.numbering import content_fingerprint, content_texts, number

CONTENTS = st.lists(st.sampled_from(["00aa", "00bb", "00cc"]), max_size=30)


def keys(contents: list[str], earlier: dict[str, int] | None = None) -> list[str]:
    numbered: list[str] = number(pa.array(contents, pa.string()), earlier or {}).to_pylist()
    return numbered


def test_equal_rows_are_numbered_in_their_order() -> None:
    assert keys(["00bb", "00aa", "00bb", "00bb"]) == ["00bb-1", "00aa-1", "00bb-2", "00bb-3"]
    assert keys(["00bb", "00aa", "00bb"], {"00bb": 7}) == ["00bb-8", "00aa-1", "00bb-9"]
    assert keys([]) == []


@given(CONTENTS, CONTENTS)
def test_rows_that_are_added_leave_the_other_keys(first: list[str], later: list[str]) -> None:
    before, after = keys(first), keys([*first, *later])
    assert len(set(after)) == len(after)
    assert after[: len(before)] == before
    # Added elsewhere, they make the same keys: which of equal rows is which says nothing.
    assert sorted(keys([*later, *first])) == sorted(after)
    # Added in a second run, which is told how many there were.
    assert sorted([*before, *keys(later, dict(Counter(first)))]) == sorted(after)


def test_a_content_is_its_values() -> None:
    batch = pa.RecordBatch.from_pydict({"a": pa.array([1.5, 2.5], pa.float32()), "b": ["x", None]})
    prints = content_fingerprint(batch)
    assert (content_fingerprint(batch.select(["b", "a"])) == prints).all()
    assert (content_fingerprint(batch.slice(1)) == prints[1:]).all()
    assert prints[0] != prints[1]


def test_fingerprints_are_written_in_16_digits() -> None:
    prints = np.array([0, 0xDEADBEEF, 2**64 - 1], np.uint64)
    assert content_texts(prints).to_pylist() == [f"{value:016x}" for value in prints.tolist()]
