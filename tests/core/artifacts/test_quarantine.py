"""Quarantined rows as JSON lines, written and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.artifacts.quarantine import REASONS, Fault, QuarantinedRow, read_rows, to_lines
from headrace.core.errors import DataError

ROW = QuarantinedRow("births.csv", 7, Fault("age", "out_of_range", "age is 7"), {"age": "7", "race": None})


def test_a_line_has_the_fields_that_readers_rely_on() -> None:
    assert json.loads(to_lines([ROW])) == {
        "file": "births.csv",
        "row": 7,
        "column": "age",
        "reason": "out_of_range",
        "message": "age is 7",
        "values": {"age": "7", "race": None},
    }


def test_written_and_read_back_rows_are_the_same(tmp_path: Path) -> None:
    also = (Fault("race", "missing_value", "race is missing"), Fault(None, "too_few_fields", "line\nbreak"))
    rows = [ROW, QuarantinedRow("é.csv", 8, Fault("id", "missing_key", "\u2028"), {"id": 1.5, "b": True}, also)]
    (tmp_path / "q.jsonl").write_bytes(to_lines(rows))
    assert list(read_rows(str(tmp_path / "q.jsonl"))) == rows


@given(st.text(), st.sampled_from(REASONS))
def test_any_text_is_one_line(text: str, reason: str) -> None:
    content = to_lines([QuarantinedRow("f", 1, Fault(text, reason, text), {text: text})])  # type: ignore[arg-type]
    assert content.count(b"\n") == 1
    assert json.loads(content)["values"] == {text: text}


@pytest.mark.parametrize("line", ["no json", "{}", "[]", '{"reason": "bad_luck"}'])
def test_another_line_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "q.jsonl").write_bytes(to_lines([ROW]) + line.encode())
    with pytest.raises(DataError, match=r"q\.jsonl, line 2"):
        list(read_rows(str(tmp_path / "q.jsonl")))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(str(tmp_path / "none.jsonl")))
