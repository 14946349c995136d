"""The warning for files that are left out: what they are, and what is wrong with the first one."""

from __future__ import annotations

from headrace.core.artifacts.budget import left_out


def test_a_file_that_is_left_out_is_named_with_its_error() -> None:
    reasons = {"b.avro": "d/b.avro, row 3: the row has no end.", "a.csv": "d/a.csv: the file is empty."}
    assert left_out({"b.avro": reasons["b.avro"]}) == (
        "warning: 1 file cannot be read, and its rows are all left out: b.avro. d/b.avro, row 3: the row has no end."
    )
    assert left_out(reasons) == (
        "warning: 2 files cannot be read, and their rows are all left out: b.avro, a.csv. "
        "The first error: d/b.avro, row 3: the row has no end."
    )
