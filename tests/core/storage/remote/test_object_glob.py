"""Patterns over object names are what they are on a disk, whatever a user types."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.storage.remote.object_glob import translate


@given(st.text("[]!^-\\az.+(", max_size=8), st.text("[]!^-\\az.+(", max_size=4))
def test_a_set_matches_as_on_a_disk(pattern: str, name: str) -> None:
    if "[^" not in pattern:
        assert bool(re.fullmatch(translate(pattern), name)) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("a/*.csv", "a/b.csv", True), ("a/*.csv", "a/b/c.csv", False), ("a/**.csv", "a/b/c.csv", True),
        ("x[z-a].csv", "xb.csv", False), ("[\\].csv", "\\.csv", True), ("[^a]", "b", True), ("[^a]", "a", False),
        ("x[.csv", "x[.csv", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, name: str, matches: bool) -> None:
    assert bool(re.fullmatch(translate(pattern), name)) == matches
